"""When does something change in a folder? inotify(7), as a hint: who waits asks again after a while anyway."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MODIFY: Final = 0x002
_MOVED_TO: Final = 0x080
_CREATE: Final = 0x100
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 64 << 10

_libc: Final = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """One inotify instance for as many folders as are looked at. Where the user may have no more of them, `changed`
    is never set and the waiters' own clocks have to do."""

    def __init__(self) -> None:
        self._fd = -1
        self._waiting: dict[int, list[asyncio.Event]] = {}

    @contextlib.contextmanager
    def changed(self, folder: Path) -> Iterator[asyncio.Event]:
        """Set whenever a file in `folder` was written, made or renamed."""
        event = asyncio.Event()
        watch = self._add(folder)
        self._waiting.setdefault(watch, []).append(event)
        try:
            yield event
        finally:
            self._waiting[watch].remove(event)
            if not self._waiting[watch]:
                del self._waiting[watch]
                if watch >= 0:
                    _libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _add(self, folder: Path) -> int:
        if self._fd < 0:
            self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                return -1
            asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return int(_libc.inotify_add_watch(self._fd, os.fsencode(folder), _MODIFY | _MOVED_TO | _CREATE))

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data, at = os.read(self._fd, _READ_BYTES), 0
            while at < len(data):
                watch, _, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                for event in self._waiting.get(watch, ()):
                    event.set()
