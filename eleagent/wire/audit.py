"""What does a record of the audit log say?"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """INTENT: before the act. OUTCOME: what came of it. EVENT: a read, a denial, or what nobody asked for."""

    INTENT = "intent"
    OUTCOME = "outcome"
    EVENT = "event"


class Provenance(StrEnum):
    """OBSERVED: the host saw it. CLAIMED: it came out of a sandbox, where anything can be said."""

    OBSERVED = "observed"
    CLAIMED = "claimed"


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log, exactly as it is stored; empty fields are left out, and so is `observed`.

    `decision` is `allowed` or `denied`: whether `rule` lets the actor do it. An outcome's is `refused` where the
    request itself was wrong or forbidden, and `outcome` then is the error's code. It is empty for what nobody asked
    for. `behalf` is whose the session is that acted. `intent` is the seq of the intent that this is the outcome of.
    `prev` is the hash of the record before (RFC 6962's of a leaf, in hex).
    """

    seq: int
    ts: str
    phase: str
    action: str
    actor: str
    behalf: str = ""
    decision: str = ""
    rule: str = ""
    object: str = ""
    organization: str = ""
    project: str = ""
    session: str = ""
    request: str = ""
    intent: int | None = None
    outcome: str = ""
    provenance: str = Provenance.OBSERVED.value
    details: dict[str, str] = {}
    prev: str = ""


class AuditList(msgspec.Struct, frozen=True):
    """`next` is the cursor for the following page, None at the end. `indexed` is the last record that was looked at."""

    records: list[AuditRecord]
    next: int | None = None
    indexed: int = 0


class AuditEntry(msgspec.Struct, frozen=True):
    """One record, the very bytes that were hashed, and its proof (c2sp.org/tlog-proof), empty until the next checkpoint
    covers it. `origin` is the log that has it.
    """

    record: AuditRecord
    line: str
    origin: str
    proof: str = ""


class KeyRotation(msgspec.Struct, frozen=True):
    """The record that names a log's next key, as it was hashed, and its proof under a checkpoint of the key before."""

    line: str
    proof: str


class LogHead(msgspec.Struct, frozen=True):
    """The newest checkpoint as a signed note. `keys` are the log's, the newest last; `rotations` prove that each was
    named by the one before. `consistency` are the hashes (base64) that lead to the checkpoint from the size that was
    asked from. `begins` is the log's first record.
    """

    note: str
    keys: list[str]
    first_seq: int
    begins: AuditRecord
    consistency: list[str] = []
    rotations: list[KeyRotation] = []


class LogRestart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/audit/logs`: why a new log begins."""

    reason: str


class LogProof(msgspec.Struct, frozen=True, tag="log", tag_field="kind"):
    """What the records of one log are proved by: its newest checkpoint, its keys as in a LogHead."""

    origin: str
    note: str
    keys: list[str]
    rotations: list[KeyRotation]


class ProvenRecord(msgspec.Struct, frozen=True, tag="record", tag_field="kind"):
    """A record as it was hashed, and the hashes (base64) that lead from it, the leaf `index`, to the checkpoint of its
    log. `path` is None where no checkpoint covers it.
    """

    origin: str
    line: str
    index: int
    path: list[str] | None


class AuditProofs(msgspec.Struct, frozen=True):
    """Records oldest first, and what proves them. `next` is the cursor for the following page, None at the end."""

    logs: list[LogProof]
    records: list[ProvenRecord]
    next: int | None = None
