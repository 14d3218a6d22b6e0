"""How much may a session still use, and which limit does it meet? Pure decisions; nothing here counts or acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from eleagent.errors import LimitReached
from eleagent.wire.limits import LimitsUpdate, Raise
from eleagent_daemon.domain.prices import Price

MICRO: Final = 1_000_000
LEAST_OUTPUT_TOKENS: Final = 1024
"""A request whose answer would have to be shorter than this (and than it asks for) does not fit any more."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model before it is sent. `least_output_tokens` is what it can't do without. A model whose price
    is not known is counted in tokens alone. `caches`: it asks for parts of its prompt to be kept, which costs more.
    """

    model: str
    input_tokens: int
    output_tokens: int
    least_output_tokens: int
    price: Price | None
    caches: bool = False

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
    "memory_bytes": "the sandbox's memory",
    "cpus": "the sandbox's processors",
    "pids": "the sandbox's share of processes",
    "disk_bytes": "the sandbox's disk",
    "disk_files": "the sandbox's share of files",
}
"""What people call each limit."""

_UNITS: Final = {"pids": "processes", "disk_files": "files"}
_PARTS: Final = frozenset({"cpus"})
"""What is not used up: it is had again at each moment."""


def amount(limit: str, value: float) -> str:
    """`value` of a limit, for people."""
    if limit.endswith("_usd"):
        return f"{value:.2f} USD"
    if limit in _PARTS:
        return f"{value:.2f} {limit}"
    if limit.endswith("_s"):
        return duration(value)
    if limit.endswith("_bytes"):
        return f"{value / (1 << 20):,.1f} MiB"
    return f"{value:,.0f} {_UNITS.get(limit, limit.removeprefix('max_'))}"


def near_text(one: Measure) -> str:
    """A sentence on a limit of which most is used."""
    what = "are nearly all at work: it may wait for them" if one.limit in _PARTS else "comes to its end"
    return f"{amount(one.limit, one.used)} of {amount(one.limit, one.allowed)}: {NAMES[one.limit]} {what}"


def duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}" if seconds % size == 0 else f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"


def reached(limit: str, used: float, allowed: float) -> LimitReached:
    told = f"{NAMES[limit]} is used up: {amount(limit, used)} of {amount(limit, allowed)} (limit {limit})"
    return LimitReached(told, limit=limit, used=used, allowed=allowed)


_COUNTS: Final = frozenset({"max_tokens", "max_turns", "max_egress_bytes"})


def raise_of(limit: str, *, used: float, allowed: float, step: float, day: str) -> Raise:
    """What is asked for where a limit is met: as much again, or `step` more than what was used of a `day`'s money. Time
    without progress is granted once more.
    """
    if limit == "idle_timeout_s":
        return Raise(limit=limit, allowed=allowed)
    if limit.endswith("_day_usd"):
        return Raise(limit=limit, allowed=max(used, allowed) + step, day=day)
    return Raise(limit=limit, allowed=max(used, allowed) + allowed)


def describe_raise(wanted: Raise) -> str:
    """For people."""
    return f"{wanted.limit} {amount(wanted.limit, wanted.allowed)}" + (f" on {wanted.day}" if wanted.day else "")


def update_of(wanted: Raise) -> LimitsUpdate:
    """The new limit of the session's own."""
    value = int(wanted.allowed) if wanted.limit in _COUNTS else wanted.allowed
    return msgspec.convert({wanted.limit: value}, LimitsUpdate)


def raised(allowance: Allowance, raises: Iterable[Raise], day: str) -> Allowance:
    """With what a session may spend past the limits of that day; what has no limit needs none."""
    more = {
        one.limit: max(one.allowed, getattr(allowance, one.limit))
        for one in raises
        if one.day == day and getattr(allowance, one.limit)
    }
    return msgspec.structs.replace(allowance, **more)


class Measure(msgspec.Struct, frozen=True):
    """One limit and how much of it is used, in its own unit; `allowed` 0 is no limit."""

    limit: str
    used: float
    allowed: float


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox uses of what it has. A limit of 0 is none, or one that can't be read here. All since its start,
    `killed` are processes that the kernel ended at the memory limit, `refused` those that could not be started, and
    `cpu_s` is the time on processors.
    """

    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    pids: int = 0
    pids_limit: int = 0
    disk_bytes: int = 0
    disk_limit_bytes: int = 0
    files: int = 0
    files_limit: int = 0
    full: bool = False
    killed: int = 0
    refused: int = 0
    cpu_s: float = 0.0
    cpus_limit: float = 0.0

    def measures(self) -> Iterator[Measure]:
        yield Measure("memory_bytes", self.memory_bytes, self.memory_limit_bytes)
        yield Measure("pids", self.pids, self.pids_limit)
        yield Measure("disk_bytes", self.disk_bytes, self.disk_limit_bytes)
        yield Measure("disk_files", self.files, self.files_limit)

    def met(self, before: Resources) -> Iterator[tuple[Measure, str]]:
        """What came up against its end since `before`, with a sentence. None of it ends a session."""
        memory, pids, disk, files = self.measures()
        if (killed := self.killed - before.killed) > 0:
            ended = "a process" if killed == 1 else f"{killed} processes"
            yield memory, f"{_used_up(memory)}: the kernel ended {ended}"
        if (refused := self.refused - before.refused) > 0:
            yield pids, f"{_used_up(pids)}: {refused:,} more could not be started"
        if self.full and not before.full:
            short = max(disk, files, key=lambda one: one.used / one.allowed)
            yield short, f"{_used_up(short)}: no room in workspace, artefacts and HOME"


def _used_up(one: Measure) -> str:
    return f"{NAMES[one.limit]} is used up ({one.limit}: {amount(one.limit, one.allowed)})"


def near(measures: Iterable[Measure], *, percent: int, warned: frozenset[str]) -> list[Measure]:
    """Those of which `percent` is used and that were not told of yet."""
    return [
        one for one in measures if one.allowed and one.limit not in warned and one.used * 100 >= one.allowed * percent
    ]


def first_reached(measures: Iterable[Measure]) -> LimitReached | None:
    return next((reached(one.limit, one.used, one.allowed) for one in measures if 0 < one.allowed <= one.used), None)
