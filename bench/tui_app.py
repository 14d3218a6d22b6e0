"""The full-screen client with a heartbeat beside it: what held its loop, how large it is, how much it computed.

SIGUSR1 writes it to the file of the first argument and begins anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from eleagent.client.address import parse_host
from eleagent_tui import app

BEAT_S = 0.01


class Beat:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._longest = 0.0
        self._longest_cpu = 0.0
        self._since = self._cpu()

    @staticmethod
    def _cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)
        while True:
            begun, cpu = time.perf_counter(), self._cpu()
            await asyncio.sleep(BEAT_S)
            self._longest = max(self._longest, time.perf_counter() - begun - BEAT_S)
            self._longest_cpu = max(self._longest_cpu, self._cpu() - cpu)

    def _tell(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        told = {
            "stall_ms": self._longest * 1000,
            "stall_cpu_ms": self._longest_cpu * 1000,
            "cpu_s": self._cpu() - self._since,
            "rss_mib": pages * os.sysconf("SC_PAGESIZE") / 2**20,
        }
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.rename(self._path)
        self._longest, self._longest_cpu, self._since = 0.0, 0.0, self._cpu()


class Measured(app.EleAgent):
    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(Beat(Path(sys.argv[1])).run())


app.EleAgent = Measured
sys.exit(app.run(parse_host(os.environ["ELEAGENT_HOST"])))
