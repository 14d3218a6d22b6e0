"""Is what was noted on a slate there after a death, whole, in order, and no longer than it counts?"""

from __future__ import annotations

from pathlib import Path

import pytest

from eleagent_daemon.store.slate import Slate

SIZE = 1 << 14


def opened(folder: Path) -> tuple[Slate, list[bytes]]:
    slate = Slate(folder / "slate", size=SIZE)
    notes = slate.open()
    slate.keep()
    return slate, notes


def test_slate_has_what_was_noted_until_it_is_wiped(tmp_path: Path) -> None:
    slate, notes = opened(tmp_path)
    assert notes == []
    for note in (b"first", b'["a \\n b", 1.5]', "später".encode()):
        slate.note(note)
    again, notes = opened(tmp_path)
    assert notes == [b"first", b'["a \\n b", 1.5]', "später".encode()]
    again.note(b"more")
    assert opened(tmp_path)[1][3:] == [b"more"]
    again.wipe()
    again.note(b"other")
    assert opened(tmp_path)[1] == [b"other"], "nothing of before comes back"
    file = tmp_path / "slate"
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (SIZE, 0o600)


def test_slate_takes_its_room_before_it_is_needed(tmp_path: Path) -> None:
    slate, _ = opened(tmp_path)
    before = (tmp_path / "slate").stat().st_blocks
    assert before * 512 >= SIZE
    while True:
        try:
            slate.note(b"x" * 500)
        except OSError:
            break
    assert (tmp_path / "slate").stat().st_blocks == before
    assert len(opened(tmp_path)[1]) == SIZE // (500 + len("00000000 \n"))


@pytest.mark.parametrize("byte", [0, 8, 9, 12, 20])
def test_slate_goes_as_far_as_its_lines_are_whole(tmp_path: Path, byte: int) -> None:
    slate, _ = opened(tmp_path)
    for note in (b"first note", b"second note", b"third note"):
        slate.note(note)
    data = bytearray((tmp_path / "slate").read_bytes())
    data[len(b"00000000 first note\n") + byte] ^= 1
    (tmp_path / "slate").write_bytes(bytes(data))
    slate, notes = opened(tmp_path)
    assert notes == [b"first note"]
    slate.note(b"2nd")
    assert opened(tmp_path)[1] == [b"first note", b"2nd"]


def test_slate_whose_room_is_not_there_notes_nothing(tmp_path: Path) -> None:
    slate = Slate(tmp_path / "slate", size=SIZE)
    with pytest.raises(OSError, match="No space left"):
        slate.note(b"x")
    huge = Slate(tmp_path / "huge", size=1 << 60)
    with pytest.raises(OSError, match="No space left"):
        huge.keep()
    assert not huge.there, "half a slate takes room that others need"
