"""How many of a sandbox user's short programs are recorded, and how much slower do they run than unwatched ones?"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from eleagent.wire.attestation import Binding
from eleagent.wire.observations import ProgramExecuted
from eleagent_daemon.domain.observed import unpack
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.kernel.calls import namespace_inode, start_ticks
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.observe.seen import Seen
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.store.spoolreader import SpoolReader

PROGRAMS = 2_000
PAIRS = 3
UID = POOL_FIRST_UID + POOL_SIZE - 1
"""The last of the pool: no sandbox of this bench's daemon has it."""
LOOP = f"i=0; while [ $i -lt {PROGRAMS} ]; do /bin/true $i; i=$((i+1)); done"


def observed_programs() -> tuple[float, float, str]:
    """Percent recorded, and the ratio of the time that they take to that of unwatched ones."""
    return asyncio.run(_measure())


async def _measure() -> tuple[float, float, str]:
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-") as folder:
        tasks = Tasks()
        programs = Programs(installation="bench", alive=Path(folder) / "watched", tasks=tasks)
        spool = SpoolWriter(folder=Path(folder) / "spool", group=0)
        seen = Seen(spool=spool, written=lambda: None)
        ratios = []
        here = Binding("", "", os.getpid(), start_ticks(os.getpid()), namespace_inode(os.getpid(), "net"))
        for _ in range(PAIRS):
            before = await _run()
            await programs.watch(UID, seen)
            programs.begin(UID, here, anew=True)
            after = await _run()
            await programs.settle(UID)
            programs.unwatch(UID, seen)
            ratios.append(after / before)
        programs.close()
        await tasks.close()
        told = sum(one.count for one in _told(Path(folder) / "spool") if one.exe.endswith("/true"))
    percent = 100 * told / (PAIRS * PROGRAMS)
    return percent, statistics.median(ratios), f"{told:,} of {PAIRS * PROGRAMS:,}"


async def _run() -> float:
    began = time.monotonic()
    words = ("setpriv", "--reuid", str(UID), "--clear-groups", "sh", "-c", LOOP)
    process = await asyncio.create_subprocess_exec(*words)
    assert await process.wait() == 0
    return time.monotonic() - began


def _told(folder: Path) -> list[ProgramExecuted]:
    reader, found = SpoolReader(folder=folder, offset=0), []
    while frames := reader.read():
        found += [one for frame in frames for one in unpack(frame.payload)]
    return [one for one in found if isinstance(one, ProgramExecuted)]
