"""What is written when the disk is full? What only takes away, into room that was kept for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from eleagent_daemon.store.durable import see_room, sync_folder

RESERVE_BYTES: Final = 16 << 20
"""Some 30,000 records."""
WARN_BYTES: Final = 1 << 30
WARN_SHARE: Final = 0.05


class Reserve:
    """A file that only takes up room, until it is needed."""

    def __init__(self, path: Path, *, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    @property
    def there(self) -> bool:
        return self._path.exists()

    def keep(self) -> None:
        """Blocking. Take the room where it is not taken. Raises OSError when the disk does not have it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            missing = max(0, self._size - os.fstat(fd).st_blocks * 512)
            try:
                see_room(self._path.parent, missing)
                if missing:
                    os.posix_fallocate(fd, 0, self._size)
                    os.fsync(fd)
            except OSError:
                if missing:
                    self._path.unlink(missing_ok=True)  # half a reserve takes room that others need
                raise
        finally:
            os.close(fd)

    def give(self) -> None:
        """Blocking. Let the room go. Raises OSError."""
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def shortage(self) -> str:
        """Blocking. Says so when the disk will be full soon; else empty."""
        disk = os.statvfs(self._path.parent)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if free >= min(WARN_BYTES, size * WARN_SHARE):
            return ""
        return f"{free >> 20} MiB are free for the audit log in {self._path.parent}; when none is, work is refused"
