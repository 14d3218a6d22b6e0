"""Which operations are there on the audit log?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import system

AUDIT_LIST: Final = Operation(
    id="audit_list", method="GET", path="/v1/audit", permission=Permission.AUDIT_READ, audit="audit.read",
    effect=Effect.CONTENT, summary="Audit records after a seq, or the newest with newest=true; oldest first",
    result=system.AuditList, query=(("after", int), ("limit", int), ("session", str), ("newest", bool)),
)  # fmt: skip
