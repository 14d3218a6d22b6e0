"""What do a command and an idle daemon cost?"""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from warm import ELEAGENT

ROUNDS = 9
IDLE_S = 5.0


def command_cpu(*arguments: str) -> float:
    """Median CPU time of `eleagent ARGUMENTS`, user and system, in milliseconds."""
    return statistics.median(_cpu_ms([ELEAGENT, *arguments]) for _ in range(ROUNDS))


def _cpu_ms(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def idle_memory(pid: int) -> float:
    """MiB that `pid` and all its descendants hold, shared pages split among their users (PSS, proc(5) smaps_rollup)."""
    time.sleep(IDLE_S)
    return sum(pss_kib(each) for each in _family(pid)) / 1024


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line Pss")
