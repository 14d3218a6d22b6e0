"""Does the reader get every whole frame, over segments and up to damage?"""

from __future__ import annotations

from pathlib import Path

import pytest

from eleagent_daemon.domain.spool import HEADER, Frame, Stream, TornFrame, encode, segment_name
from eleagent_daemon.store import spoolreader as module
from eleagent_daemon.store.spoolreader import SpoolReader


def lay(folder: Path, *payloads: bytes, first: int = 0) -> list[Frame]:
    """One segment with a frame a payload."""
    frames, offset = [], first
    for payload in payloads:
        frames.append(Frame(stream=Stream.OUT, offset=offset, at=0, payload=payload))
        offset = frames[-1].end
    (folder / segment_name(first)).write_bytes(b"".join(encode(frame) for frame in frames))
    return frames


def test_spoolreader_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    first = lay(tmp_path, b"a", b"bb")
    second = lay(tmp_path, b"ccc", first=first[-1].end)
    reader = SpoolReader(folder=tmp_path, offset=0)
    assert [reader.read(), reader.read(), reader.read()] == [first, second, []]
    assert reader.offset == second[-1].end
    assert SpoolReader(folder=tmp_path, offset=first[1].offset).read() == first[1:]


def test_spoolreader_goes_on_when_a_segment_goes_after_it_was_found(tmp_path: Path) -> None:
    """The launcher drops what was consumed while its successor is being made."""
    first = lay(tmp_path, b"a")

    class Late(SpoolReader):
        def _segment(self) -> tuple[int, Path] | None:
            found = super()._segment()
            if self.offset == first[-1].end and found == (0, tmp_path / segment_name(0)):
                lay(tmp_path, b"bb", first=self.offset)
                found[1].unlink()
            return found

    reader = Late(folder=tmp_path, offset=0)
    assert reader.read() == first
    assert [frame.payload for frame in reader.read()] == [b"bb"]


def test_spoolreader_reads_while_the_spool_grows(tmp_path: Path) -> None:
    frames = lay(tmp_path, b"a", b"bb")
    path = tmp_path / segment_name(0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    reader = SpoolReader(folder=tmp_path, offset=0)
    assert reader.read() == frames[:1], "a frame that is half written is not there yet"
    assert reader.read() == []
    path.write_bytes(whole)
    assert reader.read() == frames[1:]


def test_spoolreader_takes_about_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 100)
    frames = lay(tmp_path, *(b"x" * 40 for _ in range(5)))
    reader = SpoolReader(folder=tmp_path, offset=0)
    assert [len(reader.read()) for _ in range(4)] == [2, 2, 1, 0]
    assert reader.offset == frames[-1].end


@pytest.mark.parametrize("place", [0, 4, 8, HEADER.size], ids=["magic", "stream", "length", "payload"])
def test_spoolreader_gives_out_what_lies_before_damage(tmp_path: Path, place: int) -> None:
    frames = lay(tmp_path, b"a", b"bb", b"ccc")
    path = tmp_path / segment_name(0)
    data = bytearray(path.read_bytes())
    data[frames[1].offset + place] ^= 0xFF
    path.write_bytes(data)
    reader = SpoolReader(folder=tmp_path, offset=0)
    assert reader.read() == frames[:1]
    for _ in range(2):
        with pytest.raises(TornFrame):
            reader.read()


def test_spoolreader_of_a_folder_without_a_spool(tmp_path: Path) -> None:
    assert SpoolReader(folder=tmp_path, offset=0).read() == []
    with pytest.raises(FileNotFoundError):
        SpoolReader(folder=tmp_path / "gone", offset=0).read()
