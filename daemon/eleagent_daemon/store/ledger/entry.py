"""What does the daemon have to say for the audit log, before it is a record with a place in it?"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.timeline import now

VALUE_LIMIT: Final = 4096
"""Characters of one value. A record stays far below the 65,535 bytes that an entry of a log may have."""

NOWHERE: Final = 0
"""The seq of a record that has no place in the log yet."""


def entry(*, target: str = "", ts: str | None = None, **fields: Any) -> AuditRecord:
    """A record without a place; `target` is its object. `ts` is when it happened, which is before it was written."""
    return AuditRecord(seq=NOWHERE, ts=ts or now(), object=target, **fields)


def placed(record: AuditRecord, seq: int, prev: str) -> AuditRecord:
    return msgspec.structs.replace(record, seq=seq, prev=prev)


def trimmed(text: str) -> str:
    """At most VALUE_LIMIT characters that JSON has; what was left out is counted."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}… ({len(text) - VALUE_LIMIT} more characters)"
