"""What may a session use, and what was used?"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class OnLimit(StrEnum):
    """What happens at a limit: the session is stopped and keeps what it made, or is paused until a person raises it."""

    STOP = "stop"
    PAUSE = "pause"


class SessionLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is None is the daemon's setting. `idle_timeout_s` is how long a session may make no progress: no event, no
    traffic with the model, hardly any cpu. Money is US dollars, counted by the host at list prices.
    """

    idle_timeout_s: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None
    max_egress_bytes: int | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    disk_bytes: int | None = None
    stop_grace_s: float | None = None
    on_limit: OnLimit | None = None


class LimitsUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """New limits of a live session; what is None stays as it is. A session that a limit paused goes on."""

    timeout_s: float | None = None
    idle_timeout_s: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None
    max_egress_bytes: int | None = None


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """What a person allows at a limit: that `limit` becomes `allowed`, for this session. A limit of a `day` (UTC) is
    the operator's, and becomes that on this day alone.
    """

    limit: str
    allowed: float
    day: str = ""


class UsageBy(StrEnum):
    USER = "user"
    PROJECT = "project"
    AGENT = "agent"
    MODEL = "model"
    SESSION = "session"
    DAY = "day"


class UsageRow(msgspec.Struct, frozen=True):
    """`unpriced_tokens` are of models that the price list does not name, so `cost_usd` lacks them. `estimated` requests
    were broken off, and count as what was reserved or seen.
    """

    name: str
    sessions: int
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float
    unpriced_tokens: int
    estimated: int


class UsageReport(msgspec.Struct, frozen=True):
    """`since` and `until` are days in UTC, both counted in. `prices` says whose prices of which day."""

    by: UsageBy
    since: str
    until: str
    prices: str
    rows: list[UsageRow]
    total: UsageRow
