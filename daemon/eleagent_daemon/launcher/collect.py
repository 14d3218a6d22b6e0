"""How do the files that a session left get out of its sandbox's hands?"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import Refused
from eleagent_daemon.domain.launch import Collected, StoredFile
from eleagent_daemon.launcher.kernel import INSIDE, RESOLVE_NO_XDEV, open_inside

SKIPPED_LIMIT: Final = 100
SKIPPED_BYTES: Final = 64 * 1024
"""Of what was skipped, as written in JSON: the answer is one message, and a name may be all control characters."""
ENTRIES_LIMIT: Final = 200_000
_BLOCK_BYTES: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(kw_only=True)
class Collection:
    """One copy of a session's artefacts into a folder of eleagentd's, as `files/` and `manifest.json`.

    Blocking, for a child. Only regular files are taken, no link is followed on either side, and a name that is no UTF-8
    is kept with its bytes written out (`\\xff`).
    """

    source: Path
    target_fd: int
    owner: int
    limit_bytes: int
    limit_files: int
    stored: list[StoredFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    skipped_count: int = 0
    skipped_bytes: int = 0
    total_bytes: int = 0

    def run(self) -> Collected:
        staged = f"partial-{secrets.token_hex(4)}"
        source = os.open(self.source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._make_folder(self.target_fd, staged)
        target = open_inside(self.target_fd, staged, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for path in self._regular_files(source):
                if len(self.stored) >= self.limit_files:
                    self._skip(path, f"more than {self.limit_files} files")
                    continue
                self._take(source, target, path)
        finally:
            os.close(source)
            os.close(target)
        self._publish(staged)
        if self.skipped_count > len(self.skipped):
            self.skipped.append(f"… and {self.skipped_count - len(self.skipped)} more")
        return Collected(count=len(self.stored), bytes=self.total_bytes, skipped=self.skipped)

    def _regular_files(self, source: int) -> Iterator[bytes]:
        """Paths below `source`, by folder; what is no file or folder is noted as skipped."""
        folders, seen = [b""], 0
        while folders:
            folder = folders.pop()
            try:
                fd = open_inside(source, folder or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=INSIDE | RESOLVE_NO_XDEV)
            except OSError as error:
                self._skip(folder, str(error.strerror))
                continue
            try:
                for name in _names(fd):
                    seen += 1
                    if seen > ENTRIES_LIMIT:
                        self._skip(folder, f"more than {ENTRIES_LIMIT} entries")
                        return
                    path = folder + b"/" + name if folder else name
                    mode = os.lstat(name, dir_fd=fd).st_mode
                    if stat.S_ISDIR(mode):
                        folders.append(path)
                    elif stat.S_ISREG(mode):
                        yield path
                    else:
                        self._skip(path, _KINDS.get(stat.S_IFMT(mode), "no regular file"))
            except FileNotFoundError:
                self._skip(folder, "it changed while it was being read")
            finally:
                os.close(fd)

    def _take(self, source: int, target: int, path: bytes) -> None:
        name = path.decode("utf-8", "backslashreplace")
        try:
            fd = open_inside(source, path, _READ, resolve=INSIDE | RESOLVE_NO_XDEV)
        except OSError as error:
            self._skip(path, str(error.strerror))
            return
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                self._skip(path, "no regular file")
            elif self.total_bytes + found.st_size > self.limit_bytes:
                self._skip(path, f"over the limit of {self.limit_bytes} bytes")
            else:
                self._copy(fd, target, name, found)
        except OSError as error:
            self._skip(path, str(error.strerror))
        finally:
            os.close(fd)

    def _copy(self, fd: int, target: int, name: str, found: os.stat_result) -> None:
        """At most the size that was seen: a file that grows meanwhile is kept as it was."""
        parts = name.split("/")
        for depth in range(1, len(parts)):
            self._make_folder(target, "/".join(parts[:depth]))
        mode = 0o755 if found.st_mode & 0o100 else 0o644
        out = open_inside(target, name, _CREATE, mode=0o600)
        digest, left = hashlib.sha256(), found.st_size
        try:
            while left and (block := os.read(fd, min(left, _BLOCK_BYTES))):
                digest.update(block)
                left -= len(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(out, view) :]
            os.fchmod(out, mode)
            self._give(out)
        finally:
            os.close(out)
        size = found.st_size - left
        self.total_bytes += size
        self.stored.append(StoredFile(path=name, size_bytes=size, sha256=digest.hexdigest(), mode=mode))

    def _make_folder(self, root: int, path: str) -> None:
        parent, _, name = path.rpartition("/")
        parent_fd = open_inside(root, parent or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            fd = open_inside(parent_fd, name, os.O_RDONLY | os.O_DIRECTORY)
            self._give(fd)
            os.close(fd)
        finally:
            os.close(parent_fd)

    def _give(self, fd: int) -> None:
        if os.geteuid() == 0:
            os.fchown(fd, self.owner, -1)

    def _publish(self, staged: str) -> None:
        """Files first, then the manifest that names them, each by one rename."""
        manifest = f"{staged}.json"
        fd = open_inside(self.target_fd, manifest, _CREATE, mode=0o644)
        try:
            self._give(fd)
            os.write(fd, msgspec.json.encode(self.stored))
        finally:
            os.close(fd)
        old = f"{staged}.old"
        with contextlib.suppress(FileNotFoundError):
            os.rename("files", old, src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        os.rename(staged, "files", src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        os.rename(manifest, "manifest.json", src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(old, dir_fd=self.target_fd)

    def _skip(self, path: bytes, reason: str) -> None:
        self.skipped_count += 1
        line = f"{path.decode('utf-8', 'backslashreplace')[:500]}: {reason}"
        self.skipped_bytes += len(msgspec.json.encode(line))
        if len(self.skipped) < SKIPPED_LIMIT and self.skipped_bytes <= SKIPPED_BYTES:
            self.skipped.append(line)


def check_target(fd: int, owner: int) -> None:
    """Raises Refused for what is no folder of `owner`: root would write where the daemon itself must not."""
    found = os.fstat(fd)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise Refused(f"artefacts are collected into a folder of uid {owner} alone, this is uid {found.st_uid}'s")


def _names(folder_fd: int) -> list[bytes]:
    with os.scandir(folder_fd) as listing:
        return sorted(os.fsencode(entry.name) for entry in listing)


_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
