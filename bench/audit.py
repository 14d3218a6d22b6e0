"""What does the audit log cost: a record, one action, a verification, a question?"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from eleagent.transparency.verify import verify
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.entry import entry
from eleagent_daemon.store.ledger.query import Query

RECORDS = int(os.environ.get("BENCH_AUDIT_RECORDS", "1000000"))
GROUP = 1000
ACTIONS = 200
QUESTIONS = 60
DAY_S = 86_400


@contextmanager
def _folder() -> Iterator[Path]:
    name = tempfile.mkdtemp(prefix="eleagent-bench-", dir="/var/tmp")
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name)


def _entry(number: int, dice: random.Random) -> AuditRecord:
    """As a team of forty at work for a year leaves them."""
    month, day, second = 1 + number * 12 // RECORDS, 1 + number % 28, number % DAY_S
    host = f"api{dice.randrange(50)}.example.com"
    return entry(
        ts=f"2026-{month:02d}-{day:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000000Z",
        phase="event",
        action=dice.choice(("session.stop", "session.create", "egress.tunnel", "artefact.read", "session.read")),
        actor=f"user{dice.randrange(40)}",
        behalf=f"user{dice.randrange(40)}",
        decision=dice.choice(("allowed", "allowed", "allowed", "denied")),
        session=f"s-{dice.randrange(20_000):010d}",
        request=f"{number:016x}",
        details={"host": host, "path": f"reports/{dice.randrange(3000)}.md"},
    )


async def _opened(folder: Path, pool: ThreadPoolExecutor) -> Ledger:
    return await Ledger.open(folder / "ledger", secrets=folder, installation="bench", pool=pool)


def audit_figures() -> dict[str, tuple[float, str]]:
    """Records a second in groups; ms that a record adds to one action; s to verify; ms of a question, p95."""
    with _folder() as folder, ThreadPoolExecutor(max_workers=6) as pool:
        found = asyncio.run(_measure(folder, pool))
        begun = time.perf_counter()
        (verdict,) = verify(folder / "ledger")
        taken = time.perf_counter() - begun
        assert verdict.holds, verdict.problem
        assert verdict.records > RECORDS
        return found | {"verify": (taken, f"{verdict.records:,} records, {verdict.checkpoints} checkpoints")}


async def _measure(folder: Path, pool: ThreadPoolExecutor) -> dict[str, tuple[float, str]]:
    dice = random.Random(7)
    ledger = await _opened(folder, pool)
    taken = 0.0
    for start in range(0, RECORDS, GROUP):
        entries = [_entry(number, dice) for number in range(start, start + GROUP)]
        begun = time.perf_counter()
        await ledger.write_all(entries)
        await ledger.checkpoint()
        taken += time.perf_counter() - begun
    alone = []
    for _ in range(ACTIONS):
        begun = time.perf_counter()
        await ledger.write(phase="event", action="session.stop", actor="ada")
        alone.append((time.perf_counter() - begun) * 1000)
    begun = time.perf_counter()
    await ledger.index.catch_up()
    indexed = time.perf_counter() - begun
    asked = []
    for number in range(QUESTIONS):
        query = _question(number, dice)
        begun = time.perf_counter()
        await ledger.index.find(query, after=0, before=None, limit=100, newest=number % 2 == 0)
        asked.append((time.perf_counter() - begun) * 1000)
    await ledger.close()
    size = sum(path.stat().st_size for path in (folder / "ledger").glob("index.db*")) >> 20
    return {
        "write": (RECORDS / taken, f"in groups of {GROUP}"),
        "action": (statistics.median(alone), f"p95 {statistics.quantiles(alone, n=20)[-1]:.2f} ms"),
        "query": (
            statistics.quantiles(asked, n=20)[-1],
            f"median {statistics.median(asked):.1f} ms; the index caught up in {indexed:.1f} s, {size} MiB",
        ),
    }


def _question(number: int, dice: random.Random) -> Query:
    """Three filters each, of every kind, that find much, little or nothing."""
    actor, session = f"user{dice.randrange(40)}", f"s-{dice.randrange(20_000):010d}"
    host = f"api{dice.randrange(50)}.example.com"
    return (
        Query(actor=actor, action="egress.tunnel", decision="denied"),
        Query(session=session, action="session.*", decision="allowed"),
        Query(host=host, actor=actor, since="2026-06-01"),
        Query(path=f"reports/{dice.randrange(3000)}.md", action="artefact.read", until="2026-09-01"),
        Query(own=actor, action="session.create", since="2026-11-01"),
        Query(text=host, decision="denied", actor=actor),
    )[number % 6]


if __name__ == "__main__":
    for name, (figure, detail) in audit_figures().items():
        print(f"{name:<8} {figure:>12,.2f}  {detail}")
