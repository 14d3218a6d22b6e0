"""What happened in a session, in order? One JSONL file a session; line N is the event with seq N."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from eleagent.errors import Conflict
from eleagent.wire.events import Event, Payload, Position, SessionEnded
from eleagent_daemon.store.appendlog import AppendLog, seek_line

_READ_BYTES = 1 << 18
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def now() -> str:
    """RFC 3339 in UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Timelines:
    """The folder of timelines. A live session's is open for writing; every other is a file to read."""

    def __init__(self, *, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._pool = pool
        self._open: dict[str, Timeline] = {}

    def path(self, key: str) -> Path:
        return self._folder / f"{key}.jsonl"

    def find_open(self, key: str) -> Timeline | None:
        return self._open.get(key)

    async def open(self, key: str) -> Timeline:
        """The session's timeline for writing; recovered when it exists. At most one writer a session."""
        if key not in self._open:
            loop = asyncio.get_running_loop()
            log = await loop.run_in_executor(
                self._pool, lambda: AppendLog.open(self.path(key), pool=self._pool, hashed=True)
            )
            self._open[key] = Timeline(log=log)
        return self._open[key]

    def close(self, key: str) -> None:
        if timeline := self._open.pop(key, None):
            timeline.close()

    async def events(self, key: str) -> AsyncGenerator[list[Event], None]:
        """Every durable event of a session in order, a block of them at a time. Events of an unknown type are kept as
        they are.
        """
        loop = asyncio.get_running_loop()
        async with aclosing(self.stream(key, after=0, follow=False)) as blocks:
            async for data, _ in blocks:
                yield await loop.run_in_executor(self._pool, _decoder.decode_lines, data)

    async def find_last(self, key: str, kind: type[Payload]) -> Event | None:
        """A session's last durable event of this type."""
        loop = asyncio.get_running_loop()
        found = None
        async with aclosing(self.stream(key, after=0, follow=False)) as blocks:
            async for data, _ in blocks:
                found = await loop.run_in_executor(self._pool, _last_of, data, kind.type) or found
        return found

    async def stream(self, key: str, *, after: int, follow: bool) -> AsyncGenerator[tuple[bytes, int], None]:
        """Whole lines after seq `after`, as they are in the file, with the number of bytes still behind them.

        Nothing is queued for a watcher: each reads the file at its own pace, so a slow one costs the others nothing.
        With `follow` it goes on until the session's timeline is closed.
        """
        loop = asyncio.get_running_loop()
        path = self.path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            offset, seq = await loop.run_in_executor(self._pool, seek_line, path, after)
            while True:
                live = self._open.get(key)
                end = live.durable_bytes if live else os.fstat(fd).st_size
                if offset < end:
                    data = await loop.run_in_executor(self._pool, _read_lines, fd, offset, end)
                    if not data:  # a torn last line of a writer that died
                        return
                    offset += len(data)
                    while seq < after and data:  # lines that came only after the seek
                        seq, data = seq + 1, data[data.index(b"\n") + 1 :]
                    if data:
                        yield data, end - offset
                elif follow and live is not None:
                    await live.grown(offset)
                else:
                    return
        finally:
            os.close(fd)


class Timeline:
    """The writer of one session's timeline."""

    def __init__(self, *, log: AppendLog) -> None:
        self._log = log
        self._sealed = False

    @property
    def last_seq(self) -> int:
        return self._log.lines

    @property
    def durable_bytes(self) -> int:
        return self._log.durable_bytes

    @property
    def head(self) -> str:
        """SHA-256 (hex) over the whole durable timeline."""
        return self._log.head

    async def append(self, *items: Payload | tuple[Payload, Position | None]) -> int:
        """Make events durable, in this order, and return the last one's seq. Raises StorageUnavailable when the disk
        refuses, Conflict when the session's last event was before these.
        """
        if self._sealed or self._log.closed:
            raise Conflict(f"session {self._log.path.stem} has ended")
        stamp = now()
        lines = []
        for number, item in enumerate(items, self._log.lines + 1):
            payload, position = item if isinstance(item, tuple) else (item, None)
            lines.append(_encode(number, stamp, payload, position))
            self._sealed = isinstance(payload, SessionEnded)
        last = self._log.lines + len(lines)
        await self._log.push(lines)
        return last

    async def grown(self, past: int) -> None:
        """Wait until more than `past` bytes are durable, or the timeline is closed."""
        await self._log.grown(past)

    def close(self) -> None:
        self._log.close()


class _Line(msgspec.Struct, omit_defaults=True):
    """An event as it is written: the payload is encoded in one pass with its envelope."""

    seq: int
    ts: str
    type: str
    by: str
    data: Any
    position: Position | None = None


def _encode(seq: int, ts: str, payload: Payload, position: Position | None) -> bytes:
    return _encoder.encode(_Line(seq, ts, payload.type, payload.by, payload, position)) + b"\n"


def _last_of(data: bytes, kind: str) -> Event | None:
    """Decodes what has the bytes of that type, which another event may have inside its data."""
    mark = b'"type":"%b"' % kind.encode()
    end = len(data)
    while (at := data.rfind(mark, 0, end)) >= 0:
        end = data.rfind(b"\n", 0, at) + 1
        event = _decoder.decode(data[end : data.index(b"\n", at)])
        if event.type == kind:
            return event
    return None


def _read_lines(fd: int, offset: int, end: int) -> bytes:
    """Blocking. Whole lines, about a block of them or one longer line; empty when no whole one is before `end`."""
    size = _READ_BYTES
    while True:
        data = os.pread(fd, min(size, end - offset), offset)
        if whole := data.rfind(b"\n") + 1:
            return data[:whole]
        if len(data) < size:
            return b""
        size *= 2
