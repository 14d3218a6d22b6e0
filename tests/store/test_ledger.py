"""Is what was acknowledged in the log, in order, signed, and there after every kind of end?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import AuditUnavailable
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.merkle import leaf_hash
from eleagent.transparency.note import open_checkpoint
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.verify import Verdict, verify
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger import Ledger, groups
from eleagent_daemon.store.ledger.reading import read_entry
from eleagent_daemon.store.ledger.recovery import take_up
from eleagent_daemon.store.ledger.reserve import RESERVE_BYTES


@asynccontextmanager
async def opened(folder: Path, pool: ThreadPoolExecutor) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="test", pool=pool)
    try:
        yield ledger
    finally:
        await ledger.close()


async def write(ledger: Ledger, action: str = "session.stop", **more: Any) -> int:
    return await ledger.write(**{"phase": "event", "action": action, "actor": "ada", "decision": "allowed"} | more)


async def segments(folder: Path, log: int = 1) -> list[tuple[int, Path]]:
    return await asyncio.to_thread(LogFolder(folder / "ledger" / f"log-{log:04d}").segments)


async def records(folder: Path, log: int = 1) -> list[AuditRecord]:
    lines = [line for _, path in await segments(folder, log) for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=AuditRecord) for line in lines]


async def judged(folder: Path) -> list[Verdict]:
    return await asyncio.to_thread(verify, folder / "ledger")


async def assert_holds(folder: Path) -> None:
    assert [verdict.problem for verdict in await judged(folder)] == [""]


async def test_ledger_chain_goes_on_over_a_restart(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        assert [await write(ledger, session=f"s-{number}") for number in range(3)] == [2, 3, 4]
    async with opened(tmp_path, pool) as ledger:
        assert ledger.last_seq == 4
        assert await write(ledger) == 5
        head = ledger.head
    found = await records(tmp_path)
    lines = (await segments(tmp_path))[0][1].read_bytes().splitlines()
    assert [record.seq for record in found] == [1, 2, 3, 4, 5]
    assert found[0].action == "audit.begun"
    assert [record.prev for record in found] == ["", *(leaf_hash(line).hex() for line in lines[:-1])]
    assert head == leaf_hash(lines[-1]).hex()
    await assert_holds(tmp_path)


async def test_ledger_takes_many_at_once_in_few_groups(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        seqs = await asyncio.gather(*(write(ledger) for _ in range(1000)))
        entries = [ledger.entry(phase="event", action="session.stop", actor=f"a{number}") for number in range(5)]
        assert await ledger.write_all(entries) == 1002
    assert sorted(seqs) == list(range(2, 1002))
    assert [record.actor for record in (await records(tmp_path))[-5:]] == ["a0", "a1", "a2", "a3", "a4"]
    await assert_holds(tmp_path)


async def test_ledger_signs_every_256_records_and_at_the_end(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    notes: list[str] = []
    async with opened(tmp_path, pool) as ledger:
        ledger.publish_to(notes.append)
        running = asyncio.ensure_future(ledger.run())
        await asyncio.sleep(0.05)
        await ledger.write_all([ledger.entry(phase="event", action="session.stop", actor="x")] * 300)
        async with asyncio.timeout(5):
            while not notes:
                await asyncio.sleep(0.05)
        await write(ledger)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    log = LogFolder(tmp_path / "ledger" / "log-0001")
    keys = await asyncio.to_thread(log.keys)
    assert [open_checkpoint(note, keys).size for note in notes] == [301, 302]
    assert notes == await asyncio.to_thread(lambda: list(log.notes())[1:])


async def test_ledger_proves_each_record(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        for number in range(299):
            await write(ledger, target=str(number))
        assert (await asyncio.to_thread(read_entry, ledger.folder, 7)).proof == ""
        await ledger.checkpoint()
        keys = await asyncio.to_thread(ledger.current.keys)
        for seq in (1, 7, 255, 256, 257, 300):
            entry = await asyncio.to_thread(read_entry, ledger.folder, seq)
            assert entry.record.seq == seq
            assert InclusionProof.parse(entry.proof).check(entry.line.encode(), keys).size == 300


async def test_ledger_turns_segments_over_by_count_and_month(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eleagent_daemon.store.ledger.log.SEGMENT_RECORDS", 10)
    async with opened(tmp_path, pool) as ledger:
        for _ in range(24):
            await write(ledger)
        await write(ledger, ts="2099-01-01T00:00:00Z")
        await write(ledger, ts="2099-02-01T00:00:00Z")
    async with opened(tmp_path, pool) as ledger:
        await write(ledger, ts="2099-02-02T00:00:00Z")
    firsts = [seq for seq, _ in (await segments(tmp_path))]
    assert firsts == [1, 11, 21, 26, 27]
    await assert_holds(tmp_path)


async def test_ledger_cuts_a_torn_record_off_and_says_so(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        await write(ledger)
    path = (await segments(tmp_path))[0][1]
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    (verdict,) = await judged(tmp_path)
    assert "torn record of 40 bytes" in verdict.notes[0]
    async with opened(tmp_path, pool) as ledger:
        assert path.read_bytes() == whole
        await take_up(ledger, version="1", look=_nothing)
    assert [(one.action, one.details.get("torn_bytes")) for one in (await records(tmp_path))[-2:]] == [
        ("daemon.started", None),
        ("audit.recovered", "40"),
    ]
    await assert_holds(tmp_path)


async def test_ledger_makes_hashes_after_the_last_checkpoint_anew(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        for _ in range(600):
            await write(ledger)
    log = LogFolder(tmp_path / "ledger" / "log-0001")
    with log.checkpoints.open("ab") as file:
        file.write(b"eleagent/test/1\n70")  # a writer died over the next one
    with (log.tree / "0").open("ab") as file:
        file.write(b"half")
    async with opened(tmp_path, pool) as ledger:
        await write(ledger)
    await assert_holds(tmp_path)


async def test_ledger_closes_what_was_under_way_with_what_is_found(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        done = await write(ledger, phase="intent", action="session.create", request="r1")
        await write(ledger, phase="outcome", action="session.create", intent=done, session="s-a", outcome="done")
        left = await write(ledger, phase="intent", session="s-b", request="r2")
    async with opened(tmp_path, pool) as ledger:
        await take_up(ledger, version="1", look=_nothing)
    (closed,) = [record for record in await records(tmp_path) if record.outcome == "unknown"]
    assert (closed.intent, closed.phase, closed.session) == (left, "outcome", "s-b")
    assert closed.details == {"found": "nothing"}
    async with opened(tmp_path, pool) as ledger:
        assert await ledger.index.open_intents() == []


async def _nothing(_: AuditRecord) -> str:
    return "nothing"


async def test_ledger_takes_kinds_and_details_of_the_table_alone(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        with pytest.raises(ValueError, match="kind 'session\\.fly'"):
            await write(ledger, action="session.fly")
        with pytest.raises(ValueError, match="no detail 'prompt'"):
            await write(ledger, action="session.create", details={"prompt": "x"})
        await write(ledger, action="session.create", details={"name": "n" * 5000}, target="\udcff")
        assert ledger.last_seq == 2
    last = (await records(tmp_path))[-1]
    assert last.details["name"].endswith("n… (904 more characters)")
    assert last.object == "\\udcff"


async def test_ledger_seals_a_secret_the_same_each_time(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        sealed = ledger.keys.seal("sk-ant-secret")
        assert sealed == ledger.keys.seal("sk-ant-secret") != ledger.keys.seal("sk-ant-other")
    async with opened(tmp_path, pool) as ledger:
        assert ledger.keys.seal("sk-ant-secret") == sealed
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o600}
    (tmp_path / "secrets" / "audit-signing-key").chmod(0o640)
    with pytest.raises(AuditUnavailable, match="may be read by others"):
        async with opened(tmp_path, pool):
            pass


async def test_ledger_names_what_an_earlier_build_wrote(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "audit.jsonl").write_bytes(b"{}\n")
    async with opened(tmp_path, pool):
        pass
    details = (await records(tmp_path))[0].details
    assert details["earlier"] == "audit.jsonl"
    assert details["earlier_sha256"] == "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


async def test_ledger_that_was_changed_takes_no_record_until_a_new_log_begins(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    async with opened(tmp_path, pool) as ledger:
        await write(ledger)
    path = (await segments(tmp_path))[0][1]
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    async with opened(tmp_path, pool) as ledger:
        assert "record 2 is missing" in ledger.damage
        with pytest.raises(AuditUnavailable, match="eleagent audit restart"):
            await write(ledger, take_away=True)
        ledger.write_later(ledger.entry(phase="event", action="session.stop", actor="ada"))
        assert await ledger.restart(actor="root", reason="a disk was bad") == 3
        assert ledger.damage == ""
        assert await write(ledger) == 5
    first, late, _ = await records(tmp_path, log=2)
    assert (first.action, first.actor, first.details["reason"]) == ("audit.restarted", "root", "a disk was bad")
    assert (first.details["origin"], first.details["size"]) == ("eleagent/test/1", "1" * 0 + "0") or first.details[
        "damage"
    ]
    assert late.details["late"] == "true"
    old, new = await judged(tmp_path)
    assert (old.holds, old.acknowledged, old.record) == (True, True, 2)
    assert (new.problem, new.first_seq, new.records) == ("", 3, 3)


async def test_ledger_without_its_key_takes_no_record(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        await write(ledger)
    (tmp_path / "secrets" / "audit-signing-key").unlink()
    async with opened(tmp_path, pool) as ledger:
        assert "does not have the key" in ledger.damage


async def test_ledger_that_is_slow_refuses_and_says_what_became_of_it(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "PATIENCE_S", 0.05)
    async with opened(tmp_path, pool) as ledger:
        slow = asyncio.get_running_loop().run_in_executor(ledger._thread, _sleep)
        with pytest.raises(AuditUnavailable, match="can't be written"):
            await write(ledger, phase="intent", request="r1")
        await slow
        await asyncio.sleep(0.05)
        monkeypatch.setattr(groups, "PATIENCE_S", 5.0)
        await ledger._resume()
        assert await ledger.index.open_intents() == []
    outcomes = [one for one in await records(tmp_path) if one.phase == "outcome"]
    assert [(one.outcome, one.decision, one.request) for one in outcomes] == [("audit_unavailable", "refused", "r1")]


async def test_record_that_waits_for_room_outlives_the_daemon(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as ledger:
        await write(ledger)
        for number in range(3):
            ledger.write_later(ledger.entry(phase="event", action="session.stop", actor=f"user{number}"))
    for _ in range(2):
        async with opened(tmp_path, pool):
            pass
    late = [one.actor for one in await records(tmp_path) if one.details.get("late")]
    assert late == ["user0", "user1", "user2"], "each once"
    await assert_holds(tmp_path)


def _sleep() -> None:
    import time

    time.sleep(0.2)


async def test_ledger_takes_a_nearly_full_disk_for_a_full_one_and_gives_its_reserve_to_what_takes_away(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever revokes a key has more to write than a record of it, and on the same disk."""
    async with opened(tmp_path, pool) as ledger:
        reserve = tmp_path / "ledger" / "reserve"
        await write(ledger)
        with monkeypatch.context() as full:
            full.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 2000, 255, 255, 0, 0, 0, 0, 255)))
            with pytest.raises(AuditUnavailable, match="No space left"):
                await write(ledger)
            assert reserve.exists(), "no work gets at it"
            await write(ledger, "key.revoke", take_away=True)
            assert not reserve.exists()
            await write(ledger, "key.revoke", take_away=True)
            await ledger._resume()
            assert ledger.trouble
        await ledger._resume()
        assert (ledger.trouble, reserve.stat().st_blocks * 512 >= RESERVE_BYTES) == ("", True)
    assert [one.action for one in await records(tmp_path)][1:] == [
        "session.stop", "key.revoke", "key.revoke", "audit.resumed",
    ]  # fmt: skip
    await assert_holds(tmp_path)
