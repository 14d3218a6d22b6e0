"""What is an API key, and what does one say to make one?"""

from __future__ import annotations

import msgspec


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """`scopes` are permissions, `@any` where they reach beyond the maker's own and shared. What is bound is bound:
    empty lists and None bind nothing. Times are RFC 3339 in UTC.
    """

    id: str
    user: str
    note: str
    group: str = ""
    scopes: list[str] = []
    projects: list[str] = []
    agents: list[str] = []
    networks: list[str] = []
    sessions: int | None = None
    day_usd: float | None = None
    created: str
    expires: str
    used: str | None = None


class ApiKeyList(msgspec.Struct, frozen=True):
    keys: list[ApiKey]


class ApiKeyCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either a `group` (ci_cd, agent_execution, read_only) or `scopes`. `days` until it expires, at most 365.
    `networks` are addresses or CIDRs that it may come from, `sessions` how many it may have alive at a time,
    `day_usd` what they may spend together on a day (UTC).
    """

    note: str
    group: str | None = None
    scopes: list[str] = []
    days: int = 90
    projects: list[str] = []
    agents: list[str] = []
    networks: list[str] = []
    sessions: int | None = None
    day_usd: float | None = None


class ApiKeyMade(msgspec.Struct, frozen=True):
    """`secret` is shown this once; EleAgent keeps a hash of it."""

    key: ApiKey
    secret: str
