"""What did a container write after a cursor? Read from the engine's log, and gaps in it are said, never skipped.

The log driver is `local`, which keeps bytes as they were (json-file mangles what is not UTF-8). It stores a line as one
record, a longer one in pieces of 16 KiB, and what has no newline yet not at all before the program ends: until then a
replay does not have it, while an attach would.

Docker 20.10 gives long lines back without their newline (measured; newer ones keep it: moby's
daemon/logger/local/read.go), so it is put back here. One byte can't be known: whether the very last line ended with
one, when it was longer than a piece, the program has ended, and no cursor tells. Then it is taken to have had one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from eleagent_daemon.runtime.docker_answers import Container, LogConfig
from eleagent_daemon.runtime.docker_engine import Engine
from eleagent_daemon.runtime.docker_streams import Frames
from eleagent_daemon.runtime.seam import Chunk, Cursor, Stream

_PIECE_BYTES = 16 * 1024
_QUIET_S = 0.25
"""Longer than an engine takes from the end of a program's output to calling it exited."""
_RECORD_BYTES = 32
_PIECE_RECORD_BYTES = 240
"""More than the local driver adds to a line, and to a piece of one with its last (measured: 27 and 103 each)."""
_DEFAULT_SIZE_BYTES = 20 << 20
_DEFAULT_FILES = 5
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_STREAMS: tuple[Stream, Stream] = ("out", "err")


class Replay:
    """One reading of one container's log."""

    def __init__(self, *, engine: Engine, container: Container) -> None:
        self._engine = engine
        self._id = container.id
        self._log = container.log

    async def after(self, cursor: Cursor) -> AsyncGenerator[Chunk, None]:
        """Output after `cursor` until the container ends.

        Where the log may have dropped its beginning, nobody can tell which byte its first one is: a gap is yielded,
        followed by what there is (nothing was taken yet) or by what comes from now on (better a gap than bytes twice).
        """
        taken: dict[Stream, int] = {"out": cursor.out, "err": cursor.err}
        whole = await self._is_whole()
        if not whole:
            yield Chunk("out", b"", gap=True)
        if not whole and cursor != Cursor():
            passes = [(True, "0")]
            taken = dict.fromkeys(_STREAMS, 0)
        else:
            # The second pass: an engine of 20.10 may end a followed log before its last lines.
            passes = [(True, "all"), (False, "all")]
        for follow, tail in passes:
            async with aclosing(self._chunks(follow=follow, tail=tail, taken=dict(taken))) as chunks:
                async for chunk in chunks:
                    taken[chunk.stream] += len(chunk.data)
                    yield chunk

    async def _chunks(self, *, follow: bool, tail: str, taken: dict[Stream, int]) -> AsyncGenerator[Chunk, None]:
        """The log without what was `taken`."""
        lines = _Lines(mend=self._log.type == "local")
        place: dict[Stream, int] = dict.fromkeys(_STREAMS, 0)

        def new(stream: Stream, data: bytes) -> bytes:
            old = max(0, taken[stream] - place[stream])
            place[stream] += len(data)
            return data[old:]

        async with self._records(follow=follow, tail=tail) as records:
            while True:
                try:
                    async with asyncio.timeout(_QUIET_S if lines.owed else None):
                        record = await records.next()
                except TimeoutError:
                    if await self._runs():
                        for stream in lines.settle():
                            if data := new(stream, b"\n"):
                                yield Chunk(stream, data)
                    continue
                if record is None:
                    break
                if data := new(record.stream, lines.restore(record)):
                    yield Chunk(record.stream, data)
        for stream in lines.settle():
            # Whoever took all of it live and no newline with it knows that there was none.
            if taken[stream] != place[stream] and (data := new(stream, b"\n")):
                yield Chunk(stream, data)

    async def _runs(self) -> bool:
        async with self._engine.asked("inspect a sandbox") as docker:
            state = (await docker.containers.container(self._id).show())["State"]
        return bool(state["Running"])

    async def _is_whole(self) -> bool:
        """Whether the log surely holds its first byte: a file is dropped when all the others are full."""
        capacity = _capacity_bytes(self._log)
        if capacity is None:
            return True
        held = 0
        async with self._records(follow=False, tail="all") as records:
            while (record := await records.next()) and held < capacity:
                text = _text(record)
                held += len(text) + (_RECORD_BYTES if text.endswith(b"\n") else _PIECE_RECORD_BYTES)
        return held < capacity

    @asynccontextmanager
    async def _records(self, *, follow: bool, tail: str) -> AsyncIterator[Frames]:
        """One frame is one record, each with its time and a space in front: a record that is empty but for its lost
        newline would not be there otherwise."""
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow)), "tail": tail}
        path = f"/containers/{self._id}/logs"
        async with self._engine.streamed("read a sandbox's log", "GET", path, params=params) as answer:
            yield Frames(answer.content)


class _Lines:
    """Puts back the newlines that a log lost. `owed`: streams whose last record lost one, or was the stream's end."""

    def __init__(self, *, mend: bool) -> None:
        self._mend = mend
        self._within: set[Stream] = set()
        self.owed: set[Stream] = set()

    def restore(self, record: Chunk) -> bytes:
        text = _text(record)
        before = b"\n" if record.stream in self.owed else b""
        self.owed.discard(record.stream)
        if len(text) == _PIECE_BYTES and not text.endswith(b"\n"):
            self._within.add(record.stream)
        elif record.stream in self._within:
            self._within.discard(record.stream)
            self._mend = self._mend and not text.endswith(b"\n")  # this engine keeps them
            if self._mend:
                self.owed.add(record.stream)
        return before + text

    def settle(self) -> set[Stream]:
        owed, self.owed = self.owed, set()
        return owed


def _text(record: Chunk) -> bytes:
    return record.data.partition(b" ")[2]


def _capacity_bytes(log: LogConfig) -> int | None:
    """What the log holds at least before it may drop something; None where this is not known (another driver)."""
    if log.type != "local":
        return None
    options = log.config or {}
    size = options.get("max-size", str(_DEFAULT_SIZE_BYTES)).lower().removesuffix("b").removesuffix("i")
    number, unit = (size[:-1], _UNITS[size[-1]]) if size[-1:] in _UNITS else (size, 1)
    if float(number) <= 0:
        return None
    return int(float(number) * unit) * (int(options.get("max-file", _DEFAULT_FILES)) - 1)
