"""How do tests fill a disk for real? A small one of its own, which root can mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

mounts = pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")


@contextmanager
def small_disk(folder: Path, *, size: str = "4m") -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, name: str = "filler") -> Path:
    """To its last block; returns what takes it up."""
    filler = disk / name
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler
