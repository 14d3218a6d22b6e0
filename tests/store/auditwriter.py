"""A process that writes an audit log and says on stdout what was acknowledged, for tests that kill it.

auditwriter.py FOLDER COUNT WORKERS
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from eleagent.errors import AuditUnavailable
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.recovery import take_up

ROTATES_AT = 6
"""After which of its acts a worker rotates the log's key."""


async def main(folder: Path, count: int, workers: int) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)
        await take_up(ledger, version="test", look=_look)
        running = asyncio.ensure_future(ledger.run())
        await asyncio.gather(*(_act(ledger, f"{os.getpid()}-{worker}", count) for worker in range(workers)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await ledger.close()


async def _act(ledger: Ledger, name: str, count: int) -> None:
    for number in range(count):
        said = {"action": "session.create", "actor": name, "decision": "allowed", "request": f"{name}-{number}"}
        try:
            intent = await ledger.write(phase="intent", **said)
            _tell(intent, f"{name}-{number}")
            seq = await ledger.write(phase="outcome", intent=intent, outcome="done", **said)
            _tell(seq, f"{name}-{number}")
            if number % 5 == 4:
                await ledger.checkpoint()
            if number == ROTATES_AT:
                await ledger.rotate_key(actor=name)
        except AuditUnavailable:
            await asyncio.sleep(0.01)


def _tell(seq: int, request: str) -> None:
    os.write(1, f"{seq} {request}\n".encode())


async def _look(_: AuditRecord) -> str:
    return "nothing"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
