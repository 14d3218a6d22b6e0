"""When is a new file there for good? Once its bytes and the name in its folder are on the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO


def sync_folder(folder: Path) -> None:
    """Blocking. Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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
