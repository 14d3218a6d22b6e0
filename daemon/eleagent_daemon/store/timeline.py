"""What happened in a session, in order? One JSONL file a session; line N is the event with seq N."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from eleagent.errors import Conflict
from eleagent.wire.events import Payload, SessionEnded
from eleagent.wire.sessions import Found
from eleagent.wire.timeline import Event, Position
from eleagent.wire.wanted import Wanted
from eleagent_daemon.domain.lastline import last_line
from eleagent_daemon.store.appendlog import AppendLog
from eleagent_daemon.store.wanted import lines_among, seqs_among

SEARCH_BYTES: Final = 1 << 27
"""What one search reads; it says where it stopped."""

_READ_BYTES = 1 << 18
_HALVED_TO: Final = 1 << 14
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

    async def remove(self, key: str) -> None:
        """Delete a closed timeline; nothing happens when it is not there."""
        unlink = self.path(key).unlink
        await asyncio.get_running_loop().run_in_executor(self._pool, lambda: unlink(missing_ok=True))

    async def events(self, key: str) -> AsyncGenerator[list[Event], None]:
        """Every durable event of a session in order, a block of them at a time. Events of an unknown type are kept as
        they are.
        """
        loop = asyncio.get_running_loop()
        async with aclosing(self.stream(key, after=0, follow=False)) as blocks:
            async for data, _ in blocks:
                yield await loop.run_in_executor(self._pool, _decoder.decode_lines, data)

    async def matching(self, key: str, wanted: Wanted, *, after: int) -> AsyncGenerator[bytes, None]:
        """Whole lines of the durable events after seq `after` that `wanted` names."""
        loop = asyncio.get_running_loop()
        async with aclosing(self.stream(key, after=after, follow=False)) as blocks:
            async for data, _ in blocks:
                if lines := await loop.run_in_executor(self._pool, lines_among, data, wanted):
                    yield lines

    async def find_last(self, key: str, kind: type[Payload]) -> Event | None:
        """A session's last durable event of this type."""
        loop = asyncio.get_running_loop()
        found = None
        async with aclosing(self.stream(key, after=0, follow=False)) as blocks:
            async for data, _ in blocks:
                found = await loop.run_in_executor(self._pool, _last_of, data, kind.type) or found
        return found

    async def stream(
        self, key: str, *, after: int, follow: bool, limit: int | None = None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """Whole lines after seq `after`, as they are in the file, with the number of bytes still behind them.

        Nothing is queued for a watcher: each reads the file at its own pace, so a slow one costs the others nothing.
        With `follow` it goes on until the session's timeline is closed, with `limit` it ends after so many lines.
        """
        most = sys.maxsize if limit is None else after + limit
        loop = asyncio.get_running_loop()
        path = self.path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            offset, seq = await loop.run_in_executor(self._pool, seek_event, fd, self._end(key, fd), after)
            while seq < most:
                live = self._open.get(key)
                end = self._end(key, fd)
                if offset < end:
                    data = await loop.run_in_executor(self._pool, _read_lines, fd, offset, end)
                    if not data:  # a torn last line of a writer that died
                        return
                    offset += len(data)
                    while seq < after and data:  # lines that came only after the seek
                        seq, data = seq + 1, data[data.index(b"\n") + 1 :]
                    if limit is not None:
                        seq, data = seq + data.count(b"\n"), _first_lines(data, most - seq)
                    if data:
                        yield data, end - offset
                elif follow and live is not None:
                    await live.grown(offset)
                else:
                    return
        finally:
            os.close(fd)

    async def last_seq(self, key: str) -> int:
        """The seq of the session's last durable event; 0 for a session without one."""
        if live := self._open.get(key):
            return live.last_seq
        try:
            fd = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            loop = asyncio.get_running_loop()
            return (await loop.run_in_executor(self._pool, seek_event, fd, os.fstat(fd).st_size, sys.maxsize))[1]
        finally:
            os.close(fd)

    async def find(self, key: str, wanted: Wanted, *, after: int, before: int, limit: int, backwards: bool) -> Found:
        """At most `limit` events between the seqs `after` and `before` that `wanted` names, the nearest to where the
        search begins first: to `after`, or to `before` when it goes `backwards`. It ends after SEARCH_BYTES.
        """
        try:
            fd = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Found(seqs=[])
        loop = asyncio.get_running_loop()
        try:
            whole = self._end(key, fd)
            begin, _ = await loop.run_in_executor(self._pool, seek_event, fd, whole, after)
            end, _ = await loop.run_in_executor(self._pool, seek_event, fd, whole, max(0, before - 1))
            seqs: list[int] = []
            budget = SEARCH_BYTES
            while begin < end and len(seqs) < limit and budget > 0:
                data = await loop.run_in_executor(self._pool, _read_back if backwards else _read_lines, fd, begin, end)
                if not data:
                    break
                found = await loop.run_in_executor(self._pool, seqs_among, data, wanted)
                seqs += reversed(found) if backwards else found
                budget -= len(data)
                begin, end = (begin, end - len(data)) if backwards else (begin + len(data), end)
            stopped = begin < end and budget <= 0 and len(seqs) < limit
            at = (await loop.run_in_executor(self._pool, _seq_at, fd, end if backwards else begin)) if stopped else None
            return Found(seqs=seqs[:limit], goes_on_at=at)
        finally:
            os.close(fd)

    def _end(self, key: str, fd: int) -> int:
        live = self._open.get(key)
        return live.durable_bytes if live else os.fstat(fd).st_size


class Timeline:
    """The writer of one session's timeline."""

    def __init__(self, *, log: AppendLog) -> None:
        self._log = log
        self._sealed = False
        self.last_line = ""
        """What was said last since it was opened."""

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
            self.last_line = last_line(payload) or self.last_line
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


def seek_event(fd: int, end: int, after: int) -> tuple[int, int]:
    """Blocking. Where the line behind event `after` begins, and `after`; behind the last whole line, and its seq, in a
    timeline that has fewer. Line N has seq N, so it is found by halving: the same few reads however long the file is.
    """
    if after <= 0:
        return 0, 0
    low, high, seq = 0, end, 1
    while high - low > _HALVED_TO:
        middle = (low + high) // 2
        begin = _next_line(fd, middle, high)
        found = _seq_at(fd, begin) if begin is not None else None
        if begin is None or found is None or found > after + 1:
            high = middle
        else:
            low, seq = begin, found
    offset = low
    while data := os.pread(fd, min(_READ_BYTES, end - low), low):
        at = -1
        while seq <= after and (at := data.find(b"\n", at + 1)) >= 0:
            offset, seq = low + at + 1, seq + 1
        if seq > after:
            break
        low += len(data)
    return offset, seq - 1


def _next_line(fd: int, offset: int, end: int) -> int | None:
    """Where the first line begins that begins behind `offset`, None where none does before `end`."""
    while offset < end:
        data = os.pread(fd, min(_HALVED_TO, end - offset), offset)
        if (at := data.find(b"\n")) >= 0:
            return offset + at + 1 if offset + at + 1 < end else None
        offset += len(data) or end
    return None


def _seq_at(fd: int, offset: int) -> int | None:
    head = re.match(rb'{"seq":(\d+),', os.pread(fd, 32, offset))
    return int(head[1]) if head else None


def _first_lines(data: bytes, count: int) -> bytes:
    at = -1
    for _ in range(count):
        at = data.find(b"\n", at + 1)
        if at < 0:
            return data
    return data[: at + 1]


def _read_back(fd: int, begin: int, end: int) -> bytes:
    """Blocking. The whole lines before `end`, which is the end of one: about a block of them or one longer line."""
    size = _READ_BYTES
    while True:
        start = max(begin, end - size)
        data = os.pread(fd, end - start, start)
        if start == begin:
            return data
        if (at := data.find(b"\n", 0, len(data) - 1)) >= 0:
            return data[at + 1 :]
        size *= 2


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
