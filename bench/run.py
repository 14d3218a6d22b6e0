"""Does EleAgent hold what it promises about speed and size? Prints figures of one run; exits 1 when one is missed.

Ratios are medians of pairs that alternate, so that a busy machine slows both sides.
Needs root and an engine: `make bench`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from audit import audit_figures
from bubblewrap import bubblewrap_costs
from events import durable_events
from fanout import fanout_p99
from first_event import first_event_ratio
from footprint import command_cpu, idle_memory
from identity import identity_costs, refused_login_difference
from observation import observed_programs
from sessions import cpu_of_a_long_list, memory_of_a_session
from start import start_ratio
from warm import Warm, warm_daemon

from tui import figures as tui_figures


@dataclass(frozen=True)
class Figure:
    """`limit` is the promise; `at_least` turns it round."""

    name: str
    measured: float
    limit: float
    unit: str
    detail: str = ""
    at_least: bool = False

    @property
    def held(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        measured = f"{self.measured:,.2f} {self.unit}"
        bound = f"{'≥' if self.at_least else '≤'} {self.limit:,g}"
        return f"{'ok  ' if self.held else 'MISS'}  {self.name:<52} {measured:>16}  {bound:<9} {self.detail}"


def figures(warm: Warm) -> Iterator[Figure]:
    ratio, detail = start_ratio(warm)
    yield Figure("eleagent run -q -- true / docker run --rm, same flags", ratio, 1.0, "x", detail)
    yield from bubblewrap_figures()
    ratio, detail = first_event_ratio(warm)
    yield Figure("Claude's first event / the bare CLI's", ratio, 1.25, "x", detail)
    yield Figure("CPU of eleagent --help", command_cpu("--help"), 100, "ms")
    yield Figure("CPU of eleagent ps", command_cpu("ps"), 100, "ms")
    with_token, with_key = identity_costs()
    yield Figure("who calls, and may they: with an access token", with_token, 0.3, "ms")
    yield Figure("who calls, and may they: with an API key", with_key, 0.5, "ms")
    difference, detail = refused_login_difference()
    yield Figure("work of refused logins: as nobody, wrong password", difference, 10, "%", detail)
    rate, detail = durable_events()
    yield Figure("durable events to three watchers", rate, 5000, "/s", detail, at_least=True)
    latency, detail = fanout_p99()
    yield Figure("durable event to the slowest of 20 watchers, p99", latency, 20, "ms", detail)
    percent, ratio, detail = observed_programs()
    yield Figure("executions of short programs recorded", percent, 99.9, "%", detail, at_least=True)
    yield Figure("short programs, watched / unwatched", ratio, 2.0, "x")
    audit = audit_figures()
    yield Figure("audit records made durable in groups", *_told(audit, "write", 10_000, "/s"), at_least=True)
    yield Figure("an audit record beside one action, median", *_told(audit, "action", 5, "ms"))
    yield Figure("10⁶ audit records verified", *_told(audit, "verify", 10, "s"))
    yield Figure("three filters over 10⁶ audit records, p95", *_told(audit, "query", 100, "ms"))
    yield Figure("idle daemon and launcher (PSS)", idle_memory(warm.daemon.pid), 70, "MiB")
    memory, detail = memory_of_a_session(warm.daemon.pid)
    yield Figure("eleagentd's memory for each live session (PSS)", memory, 1, "MiB", detail)
    cpu, detail = cpu_of_a_long_list()
    yield Figure("CPU of eleagent ps, 10,000 in the registry", cpu, 100, "ms", detail)
    for name, measured, limit, unit, detail in tui_figures():
        yield Figure(name, measured, limit, unit, detail)


def _told(audit: dict[str, tuple[float, str]], name: str, limit: float, unit: str) -> tuple[float, float, str, str]:
    measured, detail = audit[name]
    return measured, limit, unit, detail


def bubblewrap_figures() -> Iterator[Figure]:
    ratio, words, over, detail, holder = bubblewrap_costs()
    yield Figure("eleagent run -q -- true on bubblewrap / srt -- true", ratio, 0.5, "x", words)
    yield Figure("eleagent run -q -- true over bare bwrap", over, 120, "ms", detail)
    yield Figure("what holds a bubblewrap sandbox's pipes (PSS)", holder, 15, "MiB")


def main() -> int:
    missed = 0
    with warm_daemon() as warm:
        for figure in figures(warm):
            print(figure, flush=True)
            missed += not figure.held
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
