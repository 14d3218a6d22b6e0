"""When is a new file there for good? Once its bytes and the name in its folder are on the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def sync_folder(folder: Path) -> None:
    """Blocking. Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put(file: BinaryIO, path: Path, target: Path) -> None:
    """Blocking. Let `file`, written at `path` beside it, take the place of `target`, whole and durable."""
    file.flush()
    os.fsync(file.fileno())
    path.rename(target)
    sync_folder(target.parent)
