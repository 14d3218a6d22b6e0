"""What is done with an audit log as it grows old: is it read again, and what is dropped when its time is over?"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from eleagent.errors import AuditUnavailable
from eleagent.transparency.logfiles import LogFolder, lines, log_folders
from eleagent.transparency.verify import PRUNED, scan
from eleagent.wire.audit import Phase
from eleagent_daemon.store.durable import sync_folder
from eleagent_daemon.store.ledger.ledger import Ledger

log = logging.getLogger(__name__)

FIRST_S: Final = 30.0
AGAIN_S: Final = 86_400.0


class _When(msgspec.Struct):
    ts: str


_when = msgspec.json.Decoder(_When)


class Keeper:
    """`run` has to run for as long as the daemon lives: once a day it reads the log from its beginning, and drops
    whole segments whose youngest record is older than `days`. Hashes and checkpoints stay, so that proofs do.
    """

    def __init__(self, *, ledger: Ledger, days: int, pool: ThreadPoolExecutor) -> None:
        self._ledger = ledger
        self._days = days
        self._pool = pool

    async def run(self) -> None:
        await asyncio.sleep(FIRST_S)
        while True:
            if not self._ledger.trouble:
                await self.read_again()
                await self.drop_old()
            await asyncio.sleep(AGAIN_S)

    async def read_again(self) -> None:
        """Take no record any more where the log does not hold."""
        folder = self._ledger.current.path
        problem = await asyncio.get_running_loop().run_in_executor(self._pool, _read_gently, folder)
        if problem and not self._ledger.trouble and self._ledger.current.path == folder:
            self._ledger.condemn(problem)

    async def drop_old(self) -> None:
        """In the log before it is done, as every other act."""
        loop = asyncio.get_running_loop()
        signed = self._ledger.signed
        limit = (datetime.now(UTC) - timedelta(days=self._days)).isoformat()
        if signed is None:
            return
        old = await loop.run_in_executor(self._pool, _old_segments, self._ledger.folder, limit, signed.size)
        if not old:
            return
        last = old[-1][0]
        said: dict[str, Any] = {
            "action": PRUNED, "actor": "eleagentd", "decision": "allowed", "rule": f"retention of {self._days} days",
        }  # fmt: skip
        details = {"to": str(last), "days": str(self._days)}
        try:
            intent = await self._ledger.write(phase=Phase.INTENT, details=details, **said)
            await self._ledger.checkpoint()
            await loop.run_in_executor(self._pool, _unlink, [path for _, path in old])
            await self._ledger.index.forget()
            await self._ledger.write(phase=Phase.OUTCOME, intent=intent, outcome="done", **said)
        except (AuditUnavailable, OSError) as err:
            log.warning("old records are not dropped: %s", err)
        else:
            log.info("audit records up to %d were dropped", last)


def _read_gently(folder: Path) -> str:
    """What is wrong with a log; reading takes half of one processor at most."""
    problem = ""
    begun = time.monotonic()
    for verdict in scan(folder):
        problem = verdict.problem
        time.sleep(min(0.1, time.monotonic() - begun))
        begun = time.monotonic()
    return problem


def _old_segments(ledger: Path, limit: str, signed: int) -> list[tuple[int, Path]]:
    """(last seq, file) of segments that are old as a whole; in the last log, signed and not being written."""
    found: list[tuple[int, Path]] = []
    folders = log_folders(ledger)
    through = LogFolder(folders[-1]).name()[1] + signed - 1
    for folder in folders:
        segments = LogFolder(folder).segments()
        if folder == folders[-1]:
            segments = segments[:-1]
        for first, path in segments:
            last, newest = first - 1, b""
            for line in lines(path):
                last, newest = last + 1, line
            if newest and (_when.decode(newest).ts >= limit or (folder == folders[-1] and last > through)):
                return found
            found.append((last, path))
    return found


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
        sync_folder(path.parent)
