"""When are bytes there for good? Once they, and the name of a new file in its folder, are on the disk."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import BinaryIO, Final

LEAST_BYTES: Final = 1 << 20
"""A disk with less counts as full: an act has more to write than its record, and both are to find room or neither."""


def sync_folder(folder: Path) -> None:
    """Blocking. Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def see_room(folder: Path, size: int = 0) -> None:
    """Blocking. Raises OSError where the disk has less beside the least: the last of it is not taken even for a moment,
    others may need it.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < size + LEAST_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def open_beside(target: Path, *, mode: int) -> BinaryIO:
    """A file of the caller's own in the target's folder, to `put` in its place, or to `discard`."""
    fd, path = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.fchmod(fd, mode)
    os.close(fd)
    return Path(path).open("wb")


def put(file: BinaryIO, target: Path) -> None:
    """Blocking. Let a file from `open_beside` take the place of `target`, whole and durable."""
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).rename(target)
    sync_folder(target.parent)


def discard(file: BinaryIO) -> None:
    """Blocking. Close a file from `open_beside`; it is gone unless it was put in a place."""
    file.close()
    Path(file.name).unlink(missing_ok=True)


def replace(path: Path, data: bytes) -> None:
    """Blocking. A file (0600) of this content takes the place of `path`, whole and durable."""
    file = open_beside(path, mode=0o600)
    try:
        file.write(data)
        put(file, path)
    finally:
        discard(file)


def write_new(path: Path, data: bytes) -> None:
    """Blocking. A file (0600) that is not there yet; its name is not durable until its folder is synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Blocking. Durable, from a byte of the file on; the file (0600) is made where it is not there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
        os.fdatasync(fd)
    finally:
        os.close(fd)
