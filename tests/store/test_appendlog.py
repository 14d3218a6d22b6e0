"""Are lines durable in their order, whatever the disk does and wherever a writer died?"""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import StorageUnavailable
from eleagent_daemon.store import appendlog as module
from eleagent_daemon.store.appendlog import AppendLog, seek_line


def lines(*numbers: int) -> list[bytes]:
    return [f"line {number}\n".encode() for number in numbers]


async def test_appendlog_keeps_the_order_of_what_waits_together(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    pushed = [log.push(lines(2 * number, 2 * number + 1)) for number in range(200)]
    await asyncio.gather(*pushed)
    assert (tmp_path / "log").read_bytes() == b"".join(lines(*range(400)))
    assert (log.lines, log.durable_bytes) == (400, (tmp_path / "log").stat().st_size)
    log.close()


async def test_appendlog_writes_what_waits_in_one_group(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(module.os, "fdatasync", lambda fd: (synced.append(fd), sync(fd)))
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    await asyncio.gather(*(log.push(lines(number)) for number in range(100)))
    assert len(synced) == 2, "the first line alone, then all that came meanwhile"
    log.close()


async def test_appendlog_is_durable_before_it_says_so(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, int]] = []
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    monkeypatch.setattr(module.os, "fdatasync", lambda _: seen.append((log.path.read_bytes(), log.durable_bytes)))
    await log.push(lines(1))
    assert seen == [(b"line 1\n", 0)]
    assert log.durable_bytes == 7
    log.close()


async def test_appendlog_goes_on_after_a_caller_gave_up(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    log.push(lines(1)).cancel()
    await log.push(lines(2))
    assert (tmp_path / "log").read_bytes() == b"".join(lines(1, 2))
    log.close()


@pytest.mark.parametrize("torn", [b"", b"x", b'{"seq":3', b"y" * (1 << 18)])
async def test_appendlog_cuts_a_torn_last_line_off(tmp_path: Path, pool: ThreadPoolExecutor, torn: bytes) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n" + torn)
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool, hashed=True)
    assert (log.lines, log.durable_bytes) == (2, 8)
    assert log.head == hashlib.sha256(b"one\ntwo\n").hexdigest()
    await log.push([b"three\n"])
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\nthree\n"
    assert log.head == hashlib.sha256(b"one\ntwo\nthree\n").hexdigest()
    log.close()


def test_appendlog_file_is_its_owners_alone(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    AppendLog.open(tmp_path / "deep" / "log", pool=pool).close()
    assert (tmp_path / "deep" / "log").stat().st_mode & 0o777 == 0o600


async def test_appendlog_refuses_everything_after_a_failed_write(tmp_path, pool, no_file_beyond) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    await log.push(lines(1))
    follower = asyncio.ensure_future(log.grown(log.durable_bytes))
    await asyncio.sleep(0)
    with no_file_beyond(10):
        first, second = log.push(lines(2)), log.push(lines(3))
        for failed in (first, second):
            with pytest.raises(StorageUnavailable, match=r"log can't be written: File too large"):
                await failed
    # The limit is gone, yet nobody knows what the disk holds.
    with pytest.raises(StorageUnavailable):
        await log.push(lines(4))
    assert log.durable_bytes == 7
    assert (tmp_path / "log").read_bytes() == b"line 1\n", "nothing torn is left for who reads the file"
    assert not follower.done(), "who follows is told of no end that is none"
    log.close()
    await follower
    recovered = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    assert (tmp_path / "log").read_bytes() == b"line 1\n"
    recovered.close()


async def test_appendlog_refuses_everything_after_a_failed_sync(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fdatasync", fail)
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        await log.push(lines(1))
    monkeypatch.undo()
    with pytest.raises(StorageUnavailable, match="Input/output error"):
        await log.push(lines(2))
    assert log.durable_bytes == 0
    assert (tmp_path / "log").read_bytes() == b"", "what was not told is not there"
    log.close()


async def test_appendlog_closed_meanwhile_writes_what_it_took(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    pushed = [log.push(lines(number)) for number in range(3)]
    log.close()
    # A descriptor closed too early would be this file's by now.
    stranger = os.open(tmp_path / "stranger", os.O_RDWR | os.O_CREAT)
    await asyncio.gather(*pushed)
    assert (tmp_path / "log").read_bytes() == b"".join(lines(0, 1, 2))
    assert os.fstat(stranger).st_size == 0
    os.close(stranger)
    with pytest.raises(ValueError, match="closed"):
        log.push(lines(3))


async def test_appendlog_close_wakes_who_waits_for_more(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    log = await asyncio.to_thread(AppendLog.open, tmp_path / "log", pool=pool)
    waiting = asyncio.ensure_future(log.grown(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.close()
    await waiting


def test_appendlog_without_digest_has_no_head(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    log = AppendLog.open(tmp_path / "log", pool=pool)
    with pytest.raises(ValueError, match="no digest"):
        log.head  # noqa: B018 - reading it is the test
    log.close()


@given(
    content=st.lists(st.sampled_from([b"\n", b"a", b"bc\n", b"defgh\n", b"x" * 9]), max_size=30).map(b"".join),
    line=st.integers(-1, 40),
    block=st.integers(1, 9),
)
def test_seek_line_agrees_with_splitting(tmp_path_factory, content: bytes, line: int, block: int) -> None:
    path = tmp_path_factory.getbasetemp() / "seek"
    path.write_bytes(content)
    whole = content.split(b"\n")[:-1]
    before = whole[: max(0, line)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        assert seek_line(path, line) == (sum(len(one) + 1 for one in before), len(before))


def test_appendlog_of_a_new_file_makes_its_name_durable(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(module.os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    AppendLog.open(tmp_path / "log", pool=pool).close()
    assert synced == [str(tmp_path)]
    (tmp_path / "log").write_bytes(b"line\n")
    AppendLog.open(tmp_path / "log", pool=pool).close()
    assert synced == [str(tmp_path)], "a file with lines has been there"
