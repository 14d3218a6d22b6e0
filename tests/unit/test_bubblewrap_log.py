"""Is a holder's log read once and whole, however it grows, and is what was dropped said?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eleagent_daemon.runtime import holder
from eleagent_daemon.runtime.bubblewrap_log import LogReader
from eleagent_daemon.runtime.holder import ERR, OUT, Log
from eleagent_daemon.runtime.seam import Chunk, Cursor


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """With segments of some bytes, and room for a few."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("SEGMENT_BYTES", 60), ("LOG_BYTES", 400), ("PIECE_BYTES", 50)):
        monkeypatch.setattr(holder, name, value)
    return Log()


def read(folder: Path, cursor: Cursor) -> dict[str, bytes]:
    found = {"out": b"", "err": b""}
    for chunk in LogReader(folder, cursor).read():
        assert not chunk.gap
        found[chunk.stream] += chunk.data
    return found


def test_log_is_read_from_every_cursor(log: Log, tmp_path: Path) -> None:
    out, err = bytes(range(100)), bytes(range(100, 170))
    for at in range(10):
        log.put(OUT, out[at * 10 : at * 10 + 10])
        log.put(ERR, err[at * 7 : at * 7 + 7])
    assert len(list(tmp_path.glob("log.*"))) > 2
    for position in range(101):
        taken = Cursor(out=position, err=position * 70 // 100)
        assert read(tmp_path, taken) == {"out": out[taken.out :], "err": err[taken.err :]}


def test_log_goes_on_where_a_frame_was_torn(log: Log, tmp_path: Path) -> None:
    log.put(OUT, b"whole")
    reader = LogReader(tmp_path, Cursor())
    assert list(reader.read()) == [Chunk("out", b"whole")]
    frame = holder.FRAME.pack(OUT, 6) + b"second"
    with (tmp_path / "log.0").open("ab") as file:
        file.write(frame[:8])
        file.flush()
        assert list(reader.read()) == []
        file.write(frame[8:])
    assert list(reader.read()) == [Chunk("out", b"second")]
    assert list(reader.read()) == []


def test_log_drops_what_is_stored_and_waits_for_what_is_not(log: Log, tmp_path: Path) -> None:
    written = 0
    while not log.full():
        log.put(OUT, b"x" * 40)
        written += 40
    assert sum(path.stat().st_size for path in tmp_path.glob("log.*")) <= 400
    reader = LogReader(tmp_path, Cursor())
    assert sum(len(chunk.data) for chunk in reader.read()) == written
    assert log.full()
    reader.store_taken()
    assert not log.full()
    log.put(OUT, b"more")
    assert list(reader.read()) == [Chunk("out", b"more")]


def test_log_is_read_on_when_what_was_stored_is_dropped_at_once(log: Log, tmp_path: Path) -> None:
    """After a long absence of its reader the holder waits for room, and takes it within the very moment it gets it."""
    written = b""
    while not log.full():
        piece = bytes([len(written) % 251]) * 40
        log.put(OUT, piece)
        written += piece
    reader, found, dropped = LogReader(tmp_path, Cursor()), b"", 0
    for _ in range(3):
        for chunk in reader.read():
            found += chunk.data
            reader.store_taken()
            before = len(list(tmp_path.glob("log.*")))
            log.full()
            dropped += before - len(list(tmp_path.glob("log.*")))
        log.put(OUT, b"more")
        written += b"more"
    assert dropped
    assert found + b"".join(chunk.data for chunk in reader.read()) == written


def test_log_says_how_much_was_dropped(log: Log, tmp_path: Path) -> None:
    for number in range(12):
        if log.full():
            reader = LogReader(tmp_path, Cursor())
            list(reader.read())
            reader.store_taken()
            assert not log.full()
        log.put(OUT, b"%02d" % number * 20)
    first, *rest = LogReader(tmp_path, Cursor(out=10)).read()
    assert (first.gap, first.data, first.stream) == (True, b"", "out")
    assert (first.gap_bytes or 0) + 10 + sum(len(chunk.data) for chunk in rest) == 480


def test_log_survives_a_full_disk(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.put(OUT, b"before")
    write, failures = os.write, [OSError(28, "No space left on device")] * 2

    def sometimes(fd: int, data: bytes) -> int:
        if failures:
            raise failures.pop()
        return write(fd, data[: max(1, len(data) // 2)])

    monkeypatch.setattr(holder.os, "write", sometimes)
    monkeypatch.setattr(holder, "RETRY_S", 0.0)
    log.put(OUT, b"after")
    assert read(tmp_path, Cursor())["out"] == b"beforeafter"
