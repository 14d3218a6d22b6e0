"""Does the spool keep every byte once, whatever happens to its writer?"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from eleagent_daemon.domain.spool import HEADER, SEGMENT_BYTES, Frame, Stream
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.store.spoolreader import SpoolReader

MIB = 1 << 20


def writer(folder: Path, **options: int) -> SpoolWriter:
    return SpoolWriter(folder=folder, group=os.getgid(), **options)


def frames(folder: Path, offset: int = 0) -> list[Frame]:
    reader, found = SpoolReader(folder=folder, offset=offset), []
    while some := reader.read():
        found += some
    return found


def text(folder: Path, stream: Stream) -> bytes:
    return b"".join(frame.payload for frame in frames(folder) if frame.stream is stream)


def test_spool_frames_carry_the_position_in_their_stream(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.OUT, b"one")
    spool.append(Stream.ERR, b"two!")
    spool.append(Stream.OUT, b"three")
    assert [(frame.stream, frame.at, frame.payload) for frame in frames(tmp_path / "s")] == [
        (Stream.OUT, 0, b"one"),
        (Stream.ERR, 0, b"two!"),
        (Stream.OUT, 3, b"three"),
    ]
    assert spool.end == 3 * HEADER.size + 12


@pytest.mark.parametrize("torn_bytes", [1, HEADER.size - 1, HEADER.size, HEADER.size + 3])
def test_spool_torn_frame_is_cut_and_counts_go_back(tmp_path: Path, torn_bytes: int) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.OUT, b"whole")
    end = spool.end
    spool.append(Stream.OUT, b"torn!")
    spool.close()
    os.truncate(tmp_path / "s" / f"{0:020d}.spool", end + torn_bytes)
    again = writer(tmp_path / "s")
    assert (again.end, again.counts[Stream.OUT]) == (end, 5)
    again.append(Stream.OUT, b"more")
    assert text(tmp_path / "s", Stream.OUT) == b"wholemore"


def test_spool_counts_survive_the_loss_of_consumed_segments(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.ERR, b"early")
    for _ in range(2 * SEGMENT_BYTES // MIB + 1):
        spool.append(Stream.OUT, bytes(MIB))
    spool.consumed(spool.end)
    spool.append(Stream.OUT, b"last")
    assert len(list((tmp_path / "s").glob("*.spool"))) == 1
    spool.close()
    again = writer(tmp_path / "s")
    assert again.counts == {Stream.OUT: 2 * SEGMENT_BYTES + MIB + 4, Stream.ERR: 5, Stream.SEEN: 0}
    assert again.end == spool.end


def test_spool_consumed_keeps_the_segment_that_is_still_read(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s")
    for _ in range(9):
        spool.append(Stream.OUT, bytes(MIB))
    starts = sorted(int(path.stem) for path in (tmp_path / "s").glob("*.spool"))
    spool.consumed(starts[1] + HEADER.size + MIB)
    assert sorted(int(path.stem) for path in (tmp_path / "s").glob("*.spool")) == starts[1:]
    assert len(frames(tmp_path / "s", starts[1])) == 5


async def test_spool_is_full_at_its_cap_until_the_daemon_consumed(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s", cap_bytes=2 * MIB)
    spool.append(Stream.OUT, bytes(MIB))
    assert not spool.full
    spool.append(Stream.OUT, bytes(MIB))
    assert spool.full
    waiting = asyncio.create_task(spool.room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    spool.consumed(MIB)
    await asyncio.wait_for(waiting, 1)


def test_spool_gap_of_known_size_counts_as_taken(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.OUT, b"abc")
    spool.gap(Stream.OUT, "lost", 100)
    spool.append(Stream.OUT, b"def")
    spool.close()
    assert writer(tmp_path / "s").counts[Stream.OUT] == 106
    assert [frame.at for frame in frames(tmp_path / "s")] == [0, 100, 103]


def test_spool_files_are_nobody_elses(tmp_path: Path) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.OUT, b"secret")
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "s", tmp_path / "s" / f"{0:020d}.spool")]
    assert [mode & 0o007 for mode in modes] == [0, 0]


@pytest.mark.parametrize("left", [b"", b'{"offset": 12'])
def test_spool_without_its_mark_goes_on_and_says_so(tmp_path: Path, left: bytes) -> None:
    spool = writer(tmp_path / "s")
    spool.append(Stream.OUT, b"before")
    end = spool.end
    spool.close()
    (tmp_path / "s" / "mark.json").write_bytes(left)
    again = writer(tmp_path / "s")
    again.append(Stream.OUT, b"after")
    told = frames(tmp_path / "s")
    assert [(frame.stream, frame.at) for frame in told] == [(Stream.OUT, 0), (Stream.GAP, 0), (Stream.OUT, 6)]
    assert told[1].offset == end
    again.close()
    assert writer(tmp_path / "s").counts[Stream.OUT] == 11
    assert len(frames(tmp_path / "s")) == 3
