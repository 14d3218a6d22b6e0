"""Do proofs outlive the records whose time is over, and is a log that was changed under the daemon found?"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eleagent.errors import NotFound
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.verify import Verdict, verify
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.keeping import Keeper
from eleagent_daemon.store.ledger.query import Query
from eleagent_daemon.store.ledger.reading import read_entry

MONTHS = ("2027-01", "2027-02", "2099-01")
DAYS = -10_000
"""Of a keeper for whom the first two months are long ago."""


@pytest.fixture
async def ledger(tmp_path: Path, pool: ThreadPoolExecutor):
    opened = await Ledger.open(tmp_path / "ledger", secrets=tmp_path / "secrets", installation="x", pool=pool)
    for month in MONTHS:
        for day in range(10, 20):
            await opened.write(phase="event", action="session.stop", actor=month, ts=f"{month}-{day}T00:00:00.000000Z")
    await opened.checkpoint()
    yield opened
    await opened.close()


async def judged(folder: Path) -> Verdict:
    (verdict,) = await asyncio.to_thread(verify, folder)
    return verdict


async def test_old_records_are_dropped_and_proofs_stay(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    keeper = Keeper(ledger=ledger, days=DAYS, pool=pool)
    kept = await asyncio.to_thread(read_entry, ledger.folder, 25)
    segments = await asyncio.to_thread(ledger.current.segments)
    await keeper.drop_old()
    assert (await asyncio.to_thread(ledger.current.segments))[0][0] == 22
    assert len(segments) > len(await asyncio.to_thread(ledger.current.segments))
    await ledger.checkpoint()
    verdict = await judged(ledger.folder)
    assert (verdict.problem, verdict.dropped) == ("", 21)
    assert "records up to 21 were dropped" in verdict.notes[0]
    keys = await asyncio.to_thread(ledger.current.keys)
    assert InclusionProof.parse(kept.proof).check(kept.line.encode(), keys).size == 31
    later = await asyncio.to_thread(read_entry, ledger.folder, 25)
    assert InclusionProof.parse(later.proof).check(later.line.encode(), keys).size > 31
    with pytest.raises(NotFound, match="its time was over"):
        await asyncio.to_thread(read_entry, ledger.folder, 5)
    found = await ledger.index.find(Query(action="audit.pruned"), after=0, before=None, limit=9, newest=False)
    assert [(one.phase, one.details.get("to")) for one in found] == [("intent", "21"), ("outcome", None)]
    await keeper.drop_old()
    assert (await asyncio.to_thread(ledger.current.segments))[0][0] == 22
    await keeper.read_again()
    assert ledger.trouble == ""


async def test_record_that_nobody_dropped_is_missed(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    first = (await asyncio.to_thread(ledger.current.segments))[0][1]
    first.unlink()
    verdict = await judged(ledger.folder)
    assert verdict.record == 1
    assert "no audit.pruned record says" in verdict.problem
    await Keeper(ledger=ledger, days=DAYS, pool=pool).read_again()
    assert "record 1: it is missing" in ledger.damage


async def test_record_that_is_changed_under_the_daemon_is_found(ledger: Ledger, pool: ThreadPoolExecutor) -> None:
    keeper = Keeper(ledger=ledger, days=DAYS, pool=pool)
    await keeper.read_again()
    assert ledger.damage == ""
    path = (await asyncio.to_thread(LogFolder(ledger.current.path).segments))[1][1]
    path.write_bytes(path.read_bytes().replace(b"2027-01-15", b"2027-01-16"))
    await keeper.read_again()
    assert "its bytes are not those that were hashed" in ledger.damage
