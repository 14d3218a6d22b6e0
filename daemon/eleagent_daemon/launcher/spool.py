"""How does a sandbox's output get into its spool, so that no byte is lost or doubled when the launcher dies?"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from eleagent_daemon.domain.spool import (
    HEADER,
    SEGMENT_BYTES,
    SUFFIX,
    Frame,
    Stream,
    TornFrame,
    decode,
    encode,
    segment_name,
)

CAP_BYTES: Final = 64 << 20
"""Bytes that the daemon has not made durable; at the cap the sandbox is not read, so that it blocks in its write."""


class _Mark(msgspec.Struct):
    """Counts of the streams' bytes at a spool offset; frames before it may be gone."""

    offset: int = 0
    out: int = 0
    err: int = 0
    seen: int = 0


class SpoolWriter:
    """One spool folder. Opening it goes on where the last whole frame ends.

    A frame that a crash tore is cut away, and its bytes come again, since `counts` are of whole frames alone.
    """

    def __init__(self, *, folder: Path, group: int, cap_bytes: int = CAP_BYTES) -> None:
        """`group` is the group of eleagentd, which may read."""
        self._folder = folder
        self._group = group
        self._cap_bytes = cap_bytes
        self._room = asyncio.Event()
        folder.mkdir(mode=0o750, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, 0, group)
        known = self._read_mark()
        self._mark = known or _Mark()
        self.end = self._mark.offset
        self.counts = {Stream.OUT: self._mark.out, Stream.ERR: self._mark.err, Stream.SEEN: self._mark.seen}
        starts = self._starts()
        self._consumed = starts[0] if starts else 0
        self._start = starts[-1] if starts else -1
        self._fd = self._open(self._start) if starts else -1
        for start in starts:
            self._recover(start, last=start == starts[-1])
        if known is None:
            self.gap(Stream.OUT, "the count of the output was lost: some of it may be missing or come again", None)

    @property
    def full(self) -> bool:
        return self.end - self._consumed >= self._cap_bytes

    async def room(self) -> None:
        """Wait until the daemon has consumed enough for more."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def append(self, stream: Stream, data: bytes) -> None:
        """At most PAYLOAD_LIMIT bytes. Raises OSError when the disk is full; the spool then ends as before."""
        self._put(Frame(stream=stream, offset=self.end, at=self.counts[stream], payload=data))
        self.counts[stream] += len(data)

    def gap(self, stream: Stream, reason: str, size_bytes: int | None) -> None:
        """Say that output is missing; a known number of bytes counts as taken."""
        self._put(Frame(stream=Stream.GAP, offset=self.end, at=size_bytes or 0, payload=reason.encode()))
        self.counts[stream] += size_bytes or 0
        self._write_mark()

    def consumed(self, offset: int) -> None:
        """Drop the segments that lie wholly below `offset`."""
        self._consumed = max(self._consumed, min(offset, self.end))
        starts = self._starts()
        for start, following in pairwise(starts):
            if following <= self._consumed:
                (self._folder / segment_name(start)).unlink()
        if not self.full:
            self._room.set()

    def lift_cap(self) -> None:
        """Take what comes, since little can: the sandbox is being killed, and its engine waits for us to read."""
        self._cap_bytes = sys.maxsize
        self._room.set()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, frame: Frame) -> None:
        if self._fd < 0 or self.end - self._start >= SEGMENT_BYTES:
            self._next_segment()
        data = memoryview(encode(frame))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            os.ftruncate(self._fd, self.end - self._start)
            os.lseek(self._fd, 0, os.SEEK_END)
            raise
        self.end = frame.end

    def _next_segment(self) -> None:
        self._write_mark()
        self.close()
        self._start = self.end
        self._fd = self._open(self._start)

    def _open(self, start: int) -> int:
        path = self._folder / segment_name(start)
        # A new one gets its name when it is the reader's to read: he may be looking for it already.
        name = path if path.exists() else self._folder / "new"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        if os.geteuid() == 0:
            os.fchown(fd, 0, self._group)
        name.rename(path)
        os.lseek(fd, 0, os.SEEK_END)
        return fd

    def _recover(self, start: int, *, last: bool) -> None:
        """Count what the segment holds after the mark; cut a torn frame off the last one."""
        data = memoryview((self._folder / segment_name(start)).read_bytes())
        taken = 0
        try:
            while frame := decode(data[taken:]):
                taken += HEADER.size + len(frame.payload)
                if frame.offset >= self._mark.offset and frame.stream is not Stream.GAP:
                    self.counts[frame.stream] = frame.at + len(frame.payload)
        except TornFrame:
            pass
        if last:
            self.end = start + taken
            os.ftruncate(self._fd, taken)
            os.lseek(self._fd, 0, os.SEEK_END)

    def _starts(self) -> list[int]:
        names = (path.name for path in self._folder.iterdir() if path.suffix == SUFFIX)
        return sorted(int(name.removesuffix(SUFFIX)) for name in names)

    def _read_mark(self) -> _Mark | None:
        """None for one that a power cut tore or emptied: then only the frames that are left say how far we are."""
        try:
            return msgspec.json.decode((self._folder / "mark.json").read_bytes(), type=_Mark)
        except FileNotFoundError:
            return _Mark()
        except msgspec.DecodeError:
            return None

    def _write_mark(self) -> None:
        self._mark = _Mark(
            offset=self.end,
            out=self.counts[Stream.OUT],
            err=self.counts[Stream.ERR],
            seen=self.counts[Stream.SEEN],
        )
        new = self._folder / "mark.new"
        new.write_bytes(msgspec.json.encode(self._mark))
        new.rename(self._folder / "mark.json")
