"""What may a session do with itself, from inside its sandbox? Operations of its own door; the API has none of them.

They need no path to say which session is meant: the door that is spoken to is one session's.
"""

from __future__ import annotations

from eleagent.operations.operation import Body, Effect, Kind, Operation
from eleagent.permissions import Permission
from eleagent.wire import inside

OWN_GET = Operation(
    id="own_get", method="GET", path="/v1/session",
    permission=Permission.SESSION_READ, audit="session.show", effect=Effect.READ,
    result=inside.OwnSession, summary="This session: its state, limits and usage",
)  # fmt: skip
OWN_REPORT = Operation(
    id="own_report", method="POST", path="/v1/session/reports",
    permission=Permission.SESSION_REPORT, audit="session.report", effect=Effect.RECORDED, status=202,
    body=inside.Report, body_kind=Body.JSON, result=inside.Told, summary="Say in the timeline how far the work is",
)  # fmt: skip
OWN_ASK = Operation(
    id="own_ask", method="POST", path="/v1/session/approvals",
    permission=Permission.APPROVAL_REQUEST, audit="approval.request", effect=Effect.RECORDED, status=202,
    body=inside.Question, body_kind=Body.JSON, result=inside.OwnApproval, summary="Ask a person to allow something",
)  # fmt: skip
OWN_APPROVAL = Operation(
    id="own_approval", method="GET", path="/v1/session/approvals/{id}", identifies=Kind.APPROVAL,
    permission=Permission.APPROVAL_REQUEST, audit="approval.show", effect=Effect.READ,
    query=(("wait_s", int),), result=inside.OwnApproval,
    summary="A question of this session's, once it is answered or after `wait_s` seconds (60 at most)",
)  # fmt: skip
OWN_END = Operation(
    id="own_end", method="POST", path="/v1/session/end",
    permission=Permission.SESSION_STOP, audit="session.stop", effect=Effect.TAKE_AWAY, status=202,
    result=inside.Told, summary="End this session",
)  # fmt: skip

INSIDE: tuple[Operation, ...] = (OWN_GET, OWN_REPORT, OWN_ASK, OWN_APPROVAL, OWN_END)
