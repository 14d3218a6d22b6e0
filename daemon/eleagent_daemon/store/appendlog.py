"""How do lines become durable? One append-only file, written in groups: whatever waits shares one fdatasync."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from eleagent.errors import StorageUnavailable
from eleagent_daemon.store.durable import sync_folder

_BLOCK = 1 << 18


class AppendLog:
    """Lines of one file; `durable_bytes` of it survive a crash. A torn last line is cut off when the file is opened.

    `lines` counts those taken, of which the last may not be durable yet. After a failed write or fsync the log refuses
    everything (`failure` says why), since what the disk holds is not known then, counts what was durable alone, and is
    cut back to that as far as the disk allows.
    """

    def __init__(self, *, path: Path, lines: int, size: int, hashed: bool, pool: ThreadPoolExecutor) -> None:
        self.path = path
        self.lines = lines
        self.durable_bytes = size
        self.failure: str | None = None
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._pool = pool
        self._digest = sha256() if hashed else None
        self._buffer: list[bytes] = []
        self._writing = False
        self._closed = False
        self._commits: list[asyncio.Future[None]] = []
        self._growth: list[asyncio.Future[None]] = []

    @classmethod
    def open(cls, path: Path, *, pool: ThreadPoolExecutor, hashed: bool = False) -> AppendLog:
        """Blocking. Make the file (0600) or recover it: count its lines and cut off what is not a whole one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size == 0:
                sync_folder(path.parent)
            lines, size = 0, 0
            for offset, block in _blocks(fd):
                lines += block.count(b"\n")
                if (last := block.rfind(b"\n")) >= 0:
                    size = offset + last + 1
            if size < os.fstat(fd).st_size:
                os.ftruncate(fd, size)
                os.fdatasync(fd)
            log = cls(path=path, lines=lines, size=size, hashed=hashed, pool=pool)
            if log._digest is not None:
                for _, block in _blocks(fd):
                    log._digest.update(block)
        finally:
            os.close(fd)
        return log

    @property
    def head(self) -> str:
        """SHA-256 (hex) of everything durable; only for a log opened with `hashed`."""
        if self._digest is None:
            raise ValueError(f"{self.path} keeps no digest")
        return self._digest.copy().hexdigest()

    @property
    def closed(self) -> bool:
        return self._closed

    def push(self, lines: list[bytes]) -> asyncio.Future[None]:
        """Take lines (each ends with a newline) in this order; the future is done when they are durable, or has
        StorageUnavailable.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        if self.failure is not None:
            done.set_exception(StorageUnavailable(f"{self.path.name} can't be written: {self.failure}"))
            return done
        self._buffer += lines
        self._commits.append(done)
        self.lines += len(lines)
        if not self._writing:
            self._write_next(loop)
        return done

    async def grown(self, past: int) -> None:
        """Wait until more than `past` bytes are durable, or the log is closed; one that failed grows no more."""
        while self.durable_bytes <= past and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._growth.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiting, self._growth = self._growth, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Take no more lines. Those taken are still written: the file is closed after the last of them."""
        self._closed = True
        if not self._writing:
            os.close(self._fd)
        self._wake()

    def _write_next(self, loop: asyncio.AbstractEventLoop) -> None:
        data, count, commits = b"".join(self._buffer), len(self._buffer), self._commits
        self._buffer, self._commits, self._writing = [], [], True
        written = loop.run_in_executor(self._pool, self._write, data)

        def finished(future: asyncio.Future[None]) -> None:
            self._writing = False
            error = future.exception()
            if error is None:
                self.durable_bytes += len(data)
                if self._digest is not None:
                    self._digest.update(data)
            else:
                self.failure = getattr(error, "strerror", None) or str(error)
            for commit in commits + (self._commits if error else []):
                if commit.done():
                    continue
                if error is None:
                    commit.set_result(None)
                else:
                    commit.set_exception(StorageUnavailable(f"{self.path.name} can't be written: {self.failure}"))
            if error is not None:
                self.lines -= count + len(self._buffer)
                self._buffer, self._commits = [], []
            elif self._buffer:
                self._write_next(loop)
            if self._closed and not self._writing:
                os.close(self._fd)
            self._wake()

        written.add_done_callback(finished)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.durable_bytes)
            raise


def _blocks(fd: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while block := os.pread(fd, _BLOCK, offset):
        yield offset, block
        offset += len(block)


def seek_line(path: Path, line: int) -> tuple[int, int]:
    """Blocking. (bytes, lines) before the line that follows the first `line` ones; before the file's torn or missing
    one when it has fewer.
    """
    if line <= 0:
        return 0, 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        seen, end = 0, 0
        for offset, block in _blocks(fd):
            count = block.count(b"\n")
            if seen + count < line:
                if count:
                    seen, end = seen + count, offset + block.rindex(b"\n") + 1
                continue
            at = -1
            for _ in range(line - seen):
                at = block.index(b"\n", at + 1)
            return offset + at + 1, line
        return end, seen
    finally:
        os.close(fd)
