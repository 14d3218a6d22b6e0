"""What did a sandbox write after a cursor? Read from its holder's log (holder.py), as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eleagent_daemon.runtime.holder import FRAME, POSITIONS
from eleagent_daemon.runtime.seam import Chunk, Cursor, Stream

_STREAMS: Final[dict[int, Stream]] = {1: "out", 2: "err"}
_SUFFIX: Final = "log."


class LogReader:
    """One reading of one log. Frames are read when they are whole: a holder may be writing the last one."""

    def __init__(self, folder: Path, cursor: Cursor) -> None:
        self._folder = folder
        self._taken = {"out": cursor.out, "err": cursor.err}
        self._position = {"out": 0, "err": 0}
        self._number = -1
        self._offset = 0

    def read(self) -> Iterator[Chunk]:
        """What is new, and what is missing before it as a gap of known size."""
        while True:
            if self._number < 0 and not self._enter(self._first()):
                return
            yield from self._frames()
            if self._begin(self._number + 1) is None:
                return
            yield from self._frames()  # what came before the next segment was begun
            self._enter(self._number + 1)

    def store_taken(self) -> None:
        """Tell the holder that the output so far need not be kept for us."""
        fd = os.open(self._folder / "taken", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, POSITIONS.pack(self._taken["out"], self._taken["err"]), 0)
        finally:
            os.close(fd)

    def _first(self) -> int:
        """The last segment that begins before what is wanted, else the first there is."""
        begins = {number: begin for number in self._numbers() if (begin := self._begin(number)) is not None}
        fitting = [
            number for number, (out, err) in begins.items() if out <= self._taken["out"] and err <= self._taken["err"]
        ]
        return max(fitting, default=min(begins, default=-1))

    def _numbers(self) -> list[int]:
        names = (path.name.removeprefix(_SUFFIX) for path in self._folder.glob(f"{_SUFFIX}*"))
        return sorted(int(name) for name in names if name.isdigit())

    def _begin(self, number: int) -> tuple[int, int] | None:
        """Positions of both streams; None where there is no such segment, or not yet."""
        try:
            with (self._folder / f"{_SUFFIX}{number}").open("rb") as file:
                head = file.read(POSITIONS.size)
        except FileNotFoundError:
            return None
        if len(head) < POSITIONS.size:
            return None
        out, err = POSITIONS.unpack(head)
        return out, err

    def _enter(self, number: int) -> bool:
        begin = self._begin(number)
        if begin is None:
            return False
        self._number, self._offset = number, POSITIONS.size
        self._position = {"out": begin[0], "err": begin[1]}
        return True

    def _frames(self) -> Iterator[Chunk]:
        try:
            file = (self._folder / f"{_SUFFIX}{self._number}").open("rb")
        except FileNotFoundError:  # all of it was stored, and the holder let go of it
            return
        with file:
            file.seek(self._offset)
            while len(head := file.read(FRAME.size)) == FRAME.size:
                kind, size = FRAME.unpack(head)
                data = file.read(size)
                if len(data) < size:
                    return
                self._offset += FRAME.size + size
                yield from self._chunk(_STREAMS[kind], data)

    def _chunk(self, stream: Stream, data: bytes) -> Iterator[Chunk]:
        begin = self._position[stream]
        self._position[stream] = end = begin + len(data)
        taken = self._taken[stream]
        if end <= taken:
            return
        self._taken[stream] = end
        if begin > taken:
            yield Chunk(stream, b"", gap=True, gap_bytes=begin - taken)
        yield Chunk(stream, data[max(0, taken - begin) :])
