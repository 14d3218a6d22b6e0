"""Which operations are there on approvals?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import sessions

APPROVAL_ANSWER: Final = Operation(
    id="approval_answer", method="POST", path="/v1/sessions/{key}/approvals/{id}", permission=Permission.SESSION_DRIVE,
    audit="approval.answer", effect=Effect.ACT, summary="Answer a question per tool (--ask)",
    body=sessions.ApprovalAnswer, body_kind=Body.JSON, result=sessions.Accepted, status=202,
)  # fmt: skip
