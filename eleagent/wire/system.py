"""What is this daemon, and what can it enforce on this host?"""

from __future__ import annotations

import msgspec


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/status`. `caller` is who the daemon takes you for; `engine` is a line, with the reason where there is
    none.
    """

    version: str
    installation: str
    pid: int
    user: str
    caller: str
    role: str
    started: str
    home: str
    runtime: str
    engine: str
    launcher: str
    model: str
    sessions_live: int
    sessions_queued: int
    slots: int
    audit_records: int
    audit_head: str


class Finding(msgspec.Struct, frozen=True):
    """One line of doctor. `level`: ok, warn (works with less), fail (does not work). `fix` says what to type."""

    name: str
    level: str
    found: str
    fix: str = ""


class Doctor(msgspec.Struct, frozen=True):
    findings: list[Finding]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit log, exactly as it is stored: `hash` covers the other fields and `prev`.

    `phase` is `intent` (before the act), `outcome` (after it) or `event` (a read, a denial, or what nobody asked for).
    `decision` is `allowed` or `denied`: whether the caller's role gives the permission. An outcome's is `refused` where
    the request itself was wrong or forbidden, and `outcome` then is the error's code. It is empty for what nobody asked
    for.
    """

    seq: int
    ts: str
    phase: str
    action: str
    actor: str
    decision: str
    object: str = ""
    session: str = ""
    request: str = ""
    intent: int | None = None
    outcome: str = ""
    provenance: str = "observed"
    details: dict[str, str] = {}
    prev: str = ""
    hash: str = ""


class AuditList(msgspec.Struct, frozen=True):
    """`next` is the cursor for the following page, None at the end."""

    records: list[AuditRecord]
    next: int | None = None
