"""Which files came and went between two looks at a sandbox? The kernel tells of every name that goes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from eleagent_daemon.kernel.fanotify import Gone, find_folder, read_removals, watch_removals

log = logging.getLogger(__name__)

NAMES_LIMIT: Final = 5_000
"""Names that are kept between two looks; of more there is a number."""
PAUSE_S: Final = 0.05
"""Between two readings, so that a flood of files costs others little; the kernel keeps 16,384 events meanwhile."""


class Went(msgspec.Struct):
    """Paths in the sandbox that went since the last look, `more` that could not be named (their folder was gone too, or
    they were too many); `overflowed`: and others that nobody counted.
    """

    paths: list[bytes] = []
    more: int = 0
    overflowed: bool = False


class Passing:
    """One sandbox's file system, which is its alone. A launcher that may not watch it does without."""

    def __init__(self) -> None:
        self._fd = -1
        self._folders: dict[bytes, bytes] = {}
        self._disk = Path()
        self._paths: dict[bytes, None] = {}
        self._more = 0
        self._overflowed = False
        self._waiting: asyncio.TimerHandle | None = None

    @property
    def watching(self) -> bool:
        return self._fd >= 0

    def begin(self, roots: Mapping[str, str]) -> None:
        """`roots` are the writable places (path in the sandbox → folder of the host). Idempotent."""
        disks = {str(Path(folder).parent) for folder in roots.values()}
        if self.watching or len(disks) != 1:
            return
        self._disk = Path(disks.pop())
        self._folders = {os.fsencode(folder): os.fsencode(place) for place, folder in roots.items()}
        if not self._disk.is_mount():  # it holds others' files too
            return
        try:
            self._fd = watch_removals(self._disk)
        except OSError as error:
            log.warning("files that come and go are not watched: %s", error.strerror)
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def take(self) -> Went:
        """What went since this was asked last."""
        if self.watching:
            self._read()
        went = Went(paths=list(self._paths), more=self._more, overflowed=self._overflowed)
        self._paths, self._more, self._overflowed = {}, 0, False
        return went

    def close(self) -> None:
        """Idempotent."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self.watching:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        self._read()
        self._waiting = loop.call_later(PAUSE_S, loop.add_reader, self._fd, self._readable)

    def _read(self) -> None:
        try:
            mount = os.open(self._disk, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return
        known: dict[bytes, bytes | None] = {}
        try:
            for gone in read_removals(self._fd):
                self._note(gone, mount, known)
        except BlockingIOError:
            return
        finally:
            os.close(mount)

    def _note(self, gone: Gone, mount: int, known: dict[bytes, bytes | None]) -> None:
        if not gone.folder:
            self._overflowed = True
            return
        if gone.folder not in known:
            known[gone.folder] = self._inside(find_folder(mount, gone.folder))
        folder = known[gone.folder]
        if folder is None or len(self._paths) >= NAMES_LIMIT:
            self._more += 1
        else:
            self._paths[folder + b"/" + gone.name] = None

    def _inside(self, folder: Path | None) -> bytes | None:
        """The path in the sandbox of a folder of the host."""
        path = b"" if folder is None else os.fsencode(folder)
        for root, place in self._folders.items():
            if path == root or path.startswith(root + b"/"):
                return place + path[len(root) :]
        return None
