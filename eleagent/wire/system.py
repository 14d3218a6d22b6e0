"""What is this daemon, and what can it enforce on this host?"""

from __future__ import annotations

import msgspec

from eleagent.wire.limits import SessionLimits


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/status`. `caller` is who the daemon takes you for; `engine` is a line, with the reason where there is
    none. `runtime_why`: what spoke for the runtime where that was decided here. `idle_s`: after so long without a
    session or a client the daemon ends by itself; 0 is never. `limits` hold for a session that asks for no others,
    `user_day_usd` (0: no limit) for all of a user's of a day.
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
    audit_trouble: str = ""
    mode: str = ""
    idle_s: float = 0.0
    limits: SessionLimits = SessionLimits()
    user_day_usd: float = 0.0
    runtime_why: str = ""


class Stopping(msgspec.Struct, frozen=True):
    """The daemon ends now. `pid` is gone when it has; the sandboxes of `sessions_live` sessions go on."""

    pid: int
    sessions_live: int


class Finding(msgspec.Struct, frozen=True):
    """One line of doctor. `level`: ok, warn (works with less), fail (does not work). `fix` says what to type."""

    name: str
    level: str
    found: str
    fix: str = ""


class Doctor(msgspec.Struct, frozen=True):
    findings: list[Finding]


class KeysRotate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`at_once`: what the old key signed counts no more, and every login ends; otherwise it counts for a day."""

    at_once: bool = False


class KeysRotated(msgspec.Struct, frozen=True):
    """`key` is the public id of the key that signs from now on; `logins_ended` how many logins ended."""

    key: str
    logins_ended: int
