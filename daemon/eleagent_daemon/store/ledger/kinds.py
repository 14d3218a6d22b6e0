"""Which kinds of records does the audit log have, and what may each say? One table; docs/audit.md is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eleagent.operations.operation import Effect
from eleagent.operations.table import OPERATIONS
from eleagent.transparency.succession import KEY_ROTATED
from eleagent.transparency.verify import PRUNED, RESTARTED

LATE: Final = "late"
"""The detail of a record that was written after the act, since there was no room before."""
FOUND: Final = "found"
"""The detail of an outcome that was not seen: what there was to see later."""


@dataclass(frozen=True)
class Kind:
    """`details` are the only ones that a record of it may have; of those in `sealed` the log gets an HMAC alone."""

    action: str
    summary: str
    details: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()

    def has(self, detail: str) -> bool:
        return detail in self.details or detail in self.sealed or detail == FOUND


_OWN: Final = (
    Kind("daemon.started", "The daemon started", ("version",)),
    Kind("daemon.stopped", "The daemon ended in order"),
    Kind("caller.refused", "Who may not speak to the daemon was turned away", ("why", "count")),
    Kind("session.start", "A sandbox is made for a session and its agent let go", ("attempt", "image", "policy")),
    Kind(
        "session.ended", "A session ended; its timeline's head anchors all of it",
        ("reason", "timeline_head", "events"),
    ),
    Kind("session.anchored", "A long session's timeline so far", ("timeline_head", "events")),
    Kind(
        "egress.tunnel", "A session asked for a tunnel to a host",
        ("host", "port", "address", "reason", "bytes_up", "bytes_down", "duration_ms", "count"),
    ),
    Kind(
        "egress.model", "A session asked the model",
        ("host", "path", "method", "model", "status", "reason", "bytes_up", "bytes_down", "duration_ms", "count"),
    ),
    Kind(
        "program.executed", "Programs that a session ran, as the host saw them; their arguments without secrets",
        ("count", "programs", "argv", "events"),
    ),
    Kind(
        "files.changed", "Files that a session changed, as the host saw them",
        ("created", "changed", "renamed", "deleted", "unread", "sha256", "events"),
    ),
    Kind(
        "claims.mismatch", "Commands that an agent reported and the host did not see",
        ("reported", "unseen", "events"),
    ),
    Kind("observation.gap", "Nobody watched a session for a while", ("begin", "end", "what", "missed", "events")),
    Kind("egress.finding", "Something at a session's door was not what it said", ("kind", "detail", "count")),
    Kind(
        "approval.decided", "What a session asked was allowed or denied, by a person, a grant, or by itself",
        ("kind", "subject", "decided_by", "grant"),
    ),
    Kind("audit.begun", "The first record of the first log", ("origin", "key", "earlier", "earlier_sha256")),
    Kind(
        RESTARTED, "The first record of a log that follows another, which it names",
        ("origin", "size", "root", "records", "damage", "reason", "key"),
    ),
    Kind(KEY_ROTATED, "The log goes on under another key, which this record names", ("key",)),
    Kind("audit.recovered", "The log was opened again after a writer died over it", ("torn_bytes", "open_intents")),
    Kind("audit.resumed", "The log can be written again", ("since", "why", "refused", "late", "lost")),
    Kind(PRUNED, "Records whose time was over were dropped; their hashes stay", ("to", "days")),
)  # fmt: skip


def _from_operations() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for operation in OPERATIONS:
        if operation.effect is not Effect.READ:
            before = found.get(operation.audit)
            names = dict.fromkeys((*(before.details if before else ()), *operation.details))
            found[operation.audit] = Kind(
                operation.audit, before.summary if before else operation.summary, tuple(names)
            )
    return found


KINDS: Final[Mapping[str, Kind]] = _from_operations() | {kind.action: kind for kind in _OWN}
DENIABLE: Final = frozenset(operation.audit for operation in OPERATIONS)
"""What a record may say that it was denied: reads of metadata too."""


def get_kind(action: str) -> Kind:
    """Raises ValueError for a kind that the table does not have."""
    if (kind := KINDS.get(action)) is None:
        if action in DENIABLE:
            return Kind(action, "")
        raise ValueError(f"audit kind {action!r} is not in store/ledger/kinds.py")
    return kind


def document() -> str:
    """The table as Markdown."""
    rows = [
        f"| `{kind.action}` | {kind.summary} | {', '.join(f'`{one}`' for one in kind.details) or '-'} |"
        for _, kind in sorted(KINDS.items())
    ]
    return "\n".join(["| Action | What happened | Details |", "|---|---|---|", *rows]) + "\n"
