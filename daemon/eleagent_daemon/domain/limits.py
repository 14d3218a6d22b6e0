"""How much may a session still use, and which limit does it meet? Pure decisions; nothing here counts or acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from eleagent.errors import LimitReached
from eleagent_daemon.domain.prices import Price

MICRO: Final = 1_000_000
LEAST_OUTPUT_TOKENS: Final = 1024
"""A request whose answer would have to be shorter than this (and than it asks for) does not fit any more."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model before it is sent. `least_output_tokens` is what it can't do without. A model whose price
    is not known is counted in tokens alone.
    """

    model: str
    input_tokens: int
    output_tokens: int
    least_output_tokens: int
    price: Price | None

    def ceiling(self, output_tokens: int) -> int:
        """The most that it can cost with so long an answer, in millionths of a dollar."""
        if self.price is None:
            return 0
        per_token = self.price.rates(self.input_tokens).output
        return self.price.input_ceiling(self.input_tokens) + -int(-output_tokens * per_token // 1)

    def affordable(self, microusd: int) -> int:
        """How long an answer so much money pays for; less than 0 when not even the prompt."""
        if self.price is None:
            return self.output_tokens
        return int(
            (microusd - self.price.input_ceiling(self.input_tokens)) // self.price.rates(self.input_tokens).output
        )


class Sum(msgspec.Struct, frozen=True):
    """What was used, and what requests under way may still come to."""

    used: int = 0
    reserved: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Money in millionths of a dollar; a day is one in UTC."""

    session: Sum = Sum()
    user_day: Sum = Sum()
    key_day: Sum = Sum()
    project_day: Sum = Sum()
    tokens: Sum = Sum()
    turns: Sum = Sum()


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """0 is no limit. Money is in US dollars."""

    max_cost_usd: float = 0.0
    user_day_usd: float = 0.0
    key_day_usd: float = 0.0
    project_day_usd: float = 0.0
    max_tokens: int = 0
    max_turns: int = 0


def grant(ask: Ask, allowance: Allowance, totals: Totals) -> int | None:
    """How many tokens the answer may have; None while only requests under way stand in its way.

    Raises LimitReached when what was used already leaves no room. Those under way are waited for and do not shorten an
    answer: they cost less than they reserve.
    """
    now, later = ask.output_tokens, ask.output_tokens
    for name, allowed, total in _money(allowance, totals):
        later = _room(name, allowed / MICRO, total.used / MICRO, ask, later, ask.affordable(allowed - total.used))
        now = min(now, ask.affordable(allowed - total.used - total.reserved))
    if allowance.max_tokens:
        left = allowance.max_tokens - totals.tokens.used - ask.input_tokens
        later = _room("max_tokens", allowance.max_tokens, totals.tokens.used, ask, later, left)
        now = min(now, left - totals.tokens.reserved)
    if allowance.max_turns:
        if totals.turns.used >= allowance.max_turns:
            raise reached("max_turns", totals.turns.used, allowance.max_turns)
        if totals.turns.used + totals.turns.reserved >= allowance.max_turns:
            return None
    return later if now >= later else None


def _money(allowance: Allowance, totals: Totals) -> Iterator[tuple[str, int, Sum]]:
    pairs = (
        ("max_cost_usd", allowance.max_cost_usd, totals.session),
        ("user_day_usd", allowance.user_day_usd, totals.user_day),
        ("key_day_usd", allowance.key_day_usd, totals.key_day),
        ("project_day_usd", allowance.project_day_usd, totals.project_day),
    )
    return ((name, int(usd * MICRO), total) for name, usd, total in pairs if usd)


def _room(name: str, allowed: float, used: float, ask: Ask, before: int, room: int) -> int:
    if room < min(ask.output_tokens, max(LEAST_OUTPUT_TOKENS, ask.least_output_tokens)):
        raise reached(name, used, allowed)
    return min(before, room)


NAMES: Final = {
    "max_cost_usd": "the session's budget",
    "user_day_usd": "its user's budget of the day",
    "key_day_usd": "its API key's budget of the day",
    "project_day_usd": "its project's budget of the day",
    "max_tokens": "the session's tokens",
    "max_turns": "the session's turns",
    "max_egress_bytes": "what the session may send",
    "timeout_s": "the session's time",
    "idle_timeout_s": "the time without progress",
}
"""What people call each limit."""


def amount(limit: str, value: float) -> str:
    """`value` of a limit, for people."""
    if limit.endswith("_usd"):
        return f"{value:.2f} USD"
    if limit.endswith("_s"):
        return duration(value)
    if limit.endswith("_bytes"):
        return f"{value / (1 << 20):,.1f} MiB"
    return f"{value:,.0f} {limit.removeprefix('max_')}"


def duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"


def reached(limit: str, used: float, allowed: float) -> LimitReached:
    told = f"{NAMES[limit]} is used up: {amount(limit, used)} of {amount(limit, allowed)} (limit {limit})"
    return LimitReached(told, limit=limit, used=used, allowed=allowed)


class Measure(msgspec.Struct, frozen=True):
    """One limit and how much of it is used, in its own unit; `allowed` 0 is no limit."""

    limit: str
    used: float
    allowed: float


def near(measures: Iterable[Measure], *, percent: int, warned: frozenset[str]) -> list[Measure]:
    """Those of which `percent` is used and that were not told of yet."""
    return [
        one for one in measures if one.allowed and one.limit not in warned and one.used * 100 >= one.allowed * percent
    ]


def first_reached(measures: Iterable[Measure]) -> LimitReached | None:
    return next((reached(one.limit, one.used, one.allowed) for one in measures if 0 < one.allowed <= one.used), None)
