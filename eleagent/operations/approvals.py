"""Which operations are there on approvals and grants?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Kind, Operation
from eleagent.permissions import Permission
from eleagent.wire import approvals

APPROVAL_LIST: Final = Operation(
    id="approval_list", method="GET", path="/v1/approvals", permission=Permission.APPROVAL_READ, audit="approval.list",
    effect=Effect.READ, summary="Open questions, oldest first; with all=true answered ones too, newest first",
    result=approvals.ApprovalList, query=(("all", bool), ("session", str), ("limit", int)),
)  # fmt: skip
APPROVAL_GET: Final = Operation(
    id="approval_get", method="GET", path="/v1/approvals/{id}", permission=Permission.APPROVAL_READ,
    identifies=Kind.APPROVAL, audit="approval.show", effect=Effect.CONTENT,
    summary="One question whole, with its parameters",
    result=approvals.Approval,
)  # fmt: skip
APPROVAL_ANSWER: Final = Operation(
    id="approval_answer", method="POST", path="/v1/approvals/{id}/answer", permission=Permission.APPROVAL_DECIDE,
    identifies=Kind.APPROVAL, audit="approval.answer", effect=Effect.ACT,
    summary="Allow or deny what is asked; the first answer counts",
    body=approvals.ApprovalAnswer, body_kind=Body.JSON, result=approvals.Approval,
    recorded=("allow", "always"),
)  # fmt: skip
GRANT_LIST: Final = Operation(
    id="grant_list", method="GET", path="/v1/grants", permission=Permission.APPROVAL_READ, audit="grant.list",
    effect=Effect.READ, summary="Standing grants, newest first; with all=true revoked ones too",
    result=approvals.GrantList, query=(("all", bool),),
)  # fmt: skip
GRANT_REVOKE: Final = Operation(
    id="grant_revoke", method="POST", path="/v1/grants/{id}/revoke", permission=Permission.APPROVAL_DECIDE,
    identifies=Kind.GRANT, audit="grant.revoke", effect=Effect.TAKE_AWAY,
    summary="Take a standing grant back", result=approvals.Grant,
)  # fmt: skip
