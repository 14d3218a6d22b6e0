"""Where is written what has to be kept when the disk is full? In place, on a slate whose room was taken before."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import Final

from eleagent_daemon.store.durable import see_room, sync_folder, write_at

SLATE_BYTES: Final = 512 << 10


class Slate:
    """A file (0600) of one size: lines that were checked, then zeros. Everything here blocks.

    What is noted is written over the zeros, so a file system that writes in place needs no room for it.
    """

    def __init__(self, path: Path, *, size: int = SLATE_BYTES) -> None:
        self._path = path
        self._size = size
        self._used = 0

    @property
    def there(self) -> bool:
        return self._path.exists()

    def open(self) -> list[bytes]:
        """What is noted, oldest first, up to the first line that is not whole. Raises OSError."""
        lines: list[bytes] = []
        self._used = 0
        for line in (self._path.read_bytes() if self.there else b"").splitlines(keepends=True):
            check, _, note = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or check != _check(note):
                break
            lines.append(note)
            self._used += len(line)
        return lines

    def keep(self) -> None:
        """Take the room where it is not taken. Raises OSError when the disk does not have it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_blocks * 512 >= self._size:
                return
            see_room(self._path.parent, self._size)
            # Zeros, not fallocate(2): to write for the first time where that was promised can need room again.
            write_at(self._path, self._used, bytes(self._size - self._used))
            sync_folder(self._path.parent)
        except OSError:
            if not self._used:
                self._path.unlink(missing_ok=True)  # half a slate takes room that others need
            raise
        finally:
            os.close(fd)

    def note(self, note: bytes) -> None:
        """Durable, as one line. Raises OSError when there is no slate, or no place left on it."""
        line = _check(note) + b" " + note + b"\n"
        if not self.there or self._used + len(line) > self._size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_at(self._path, self._used, line)
        self._used += len(line)

    def wipe(self) -> None:
        """Nothing that was noted counts any more. Raises OSError."""
        if self._used:
            write_at(self._path, 0, bytes(self._used))
            self._used = 0


def _check(note: bytes) -> bytes:
    return b"%08x" % zlib.crc32(note)
