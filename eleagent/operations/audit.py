"""Which operations are there on the audit log?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import audit

FILTERS: Final = ("since", "until", "actor", "action", "object", "session", "decision", "host", "path", "text")
_FILTERS: Final = tuple((name, str) for name in FILTERS)

AUDIT_LIST: Final = Operation(
    id="audit_list", method="GET", path="/v1/audit", permission=Permission.AUDIT_READ, audit="audit.read",
    effect=Effect.CONTENT, summary="Audit records between two seqs, or the newest with newest=true; oldest first",
    result=audit.AuditList,
    query=(("after", int), ("before", int), ("limit", int), ("newest", bool), *_FILTERS),
)  # fmt: skip
AUDIT_GET: Final = Operation(
    id="audit_get", method="GET", path="/v1/audit/records/{seq}", permission=Permission.AUDIT_READ, audit="audit.read",
    effect=Effect.CONTENT, summary="One audit record, the bytes that were hashed, and its inclusion proof",
    result=audit.AuditEntry,
)  # fmt: skip
AUDIT_PROVE: Final = Operation(
    id="audit_prove", method="GET", path="/v1/audit/proofs", permission=Permission.AUDIT_READ, audit="audit.export",
    effect=Effect.CONTENT, summary="Audit records after a seq, oldest first, each with what proves it without a daemon",
    result=audit.AuditProofs, query=(("after", int), ("limit", int), *_FILTERS),
)  # fmt: skip
AUDIT_HEAD: Final = Operation(
    id="audit_head", method="GET", path="/v1/audit/checkpoint", permission=Permission.AUDIT_VERIFY,
    audit="audit.checkpoint", effect=Effect.READ,
    summary="The newest checkpoint, and what proves that the log begins with its first from_size records",
    result=audit.LogHead, query=(("from_size", int),),
)  # fmt: skip
AUDIT_RESTART: Final = Operation(
    id="audit_restart", method="POST", path="/v1/audit/logs", permission=Permission.AUDIT_RESTART,
    audit="audit.restart", effect=Effect.RECORDED, step_up=True,
    summary="Begin a new log, whose first record names the old one, how far it was signed and what is wrong with it",
    body=audit.LogRestart, body_kind=Body.JSON, result=audit.LogHead, status=201,
)  # fmt: skip
AUDIT_ROTATE_KEY: Final = Operation(
    id="audit_rotate_key", method="POST", path="/v1/audit/keys", permission=Permission.DAEMON_KEYS,
    audit="audit.rotate_key", effect=Effect.ACT,
    summary="Sign the audit log with a fresh key, which a record names that the old one signs",
    result=audit.LogHead, step_up=True,
)  # fmt: skip
