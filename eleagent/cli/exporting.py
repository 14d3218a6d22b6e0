"""As which text do audit records leave: JSONL, CSV, or JSONL with proofs?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eleagent.client.api import Client
from eleagent.operations.audit import AUDIT_LIST, AUDIT_PROVE
from eleagent.wire.audit import AuditList, AuditProofs, AuditRecord, LogProof

_PAGE: Final = 1000
_COLUMNS: Final = [field.name for field in msgspec.structs.fields(AuditRecord)]


def pieces_of(client: Client, query: dict[str, Any], *, form: str) -> Iterator[str]:
    """`form` is jsonl, csv or proofs."""
    if form == "proofs":
        return _proofs(client, query)
    return _csv(_records(client, query)) if form == "csv" else map(_line, _records(client, query))


def _records(client: Client, query: dict[str, Any]) -> Iterator[AuditRecord]:
    after: int | None = 0
    while after is not None:
        found: AuditList = client.call(AUDIT_LIST, query=query | {"after": after, "limit": _PAGE})
        yield from found.records
        after = found.next


def _proofs(client: Client, query: dict[str, Any]) -> Iterator[str]:
    """Each log's checkpoint before the records that it proves."""
    after: int | None = 0
    told: dict[str, LogProof] = {}
    while after is not None:
        found: AuditProofs = client.call(AUDIT_PROVE, query=query | {"after": after, "limit": _PAGE})
        for log in found.logs:
            if told.get(log.origin) != log:
                told[log.origin] = log
                yield _line(log)
        yield from map(_line, found.records)
        after = found.next


def _line(item: msgspec.Struct) -> str:
    return msgspec.json.encode(item).decode() + "\n"


def _csv(records: Iterator[AuditRecord]) -> Iterator[str]:
    """RFC 4180. What a spreadsheet would take for a formula gets an apostrophe before it."""
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(_COLUMNS)
    for record in records:
        fields = msgspec.structs.asdict(record)
        fields["details"] = msgspec.json.encode(record.details).decode()
        writer.writerow([_inert("" if value is None else str(value)) for value in fields.values()])
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
