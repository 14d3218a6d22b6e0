"""How do the files that a session left get out of its sandbox's hands?"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import Refused
from eleagent_daemon.domain.launch import Collected, StoredFile
from eleagent_daemon.kernel.calls import INSIDE, RESOLVE_NO_XDEV, open_inside
from eleagent_daemon.launcher.removal import remove_tree
from eleagent_daemon.launcher.sparse import data_spans

SKIPPED_LIMIT: Final = 100
SKIPPED_BYTES: Final = 64 * 1024
"""Of what was skipped, as written in JSON: the answer is one message, and a name may be all control characters."""
ENTRIES_LIMIT: Final = 200_000
DEPTH_LIMIT: Final = 64
_BLOCK_BYTES: Final = 1 << 20
_ZEROS: Final = memoryview(bytes(_BLOCK_BYTES))
_STAGED: Final = "partial-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(kw_only=True)
class _Target:
    """A folder below `files/`, made once a file is to go into it."""

    parent: _Target | None
    name: str
    fd: int = -1

    def open(self, owner: int) -> int:
        if self.fd < 0:
            assert self.parent is not None  # noqa: S101 - the first is open from the beginning
            self.fd = _make_folder(self.parent.open(owner), self.name, owner)
        return self.fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def collect(source: Callable[[], Path], *, target_fd: int, owner: int, limit_bytes: int, limit_files: int) -> Collected:
    """Blocking, for a child."""
    return Collection(
        source=source(), target_fd=target_fd, owner=owner, limit_bytes=limit_bytes, limit_files=limit_files
    ).run()


@dataclass(kw_only=True)
class Collection:
    """One copy of a session's artefacts into a folder of eleagentd's, as `files/` and `manifest.json`.

    Blocking, for a child. Only regular files are taken, no link is followed on either side, holes stay holes, and a
    name that is no UTF-8 is kept with its bytes written out (`\\xff`).
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
    _seen: int = 0

    def run(self) -> Collected:
        for stale in _names(self.target_fd):
            if stale.startswith(_STAGED.encode()):
                remove_tree(self.target_fd, os.fsdecode(stale))
        staged = f"{_STAGED}{secrets.token_hex(4)}"
        source = os.open(self.source, _FOLDER | os.O_CLOEXEC)
        target = _Target(parent=None, name=staged, fd=_make_folder(self.target_fd, staged, self.owner))
        try:
            self._walk(source, target, b"", 0)
        finally:
            os.close(source)
            target.close()
        self._publish(staged)
        if self.skipped_count > len(self.skipped):
            self.skipped.append(f"… and {self.skipped_count - len(self.skipped)} more")
        return Collected(count=len(self.stored), bytes=self.total_bytes, skipped=self.skipped)

    def _walk(self, source: int, target: _Target, above: bytes, depth: int) -> None:
        """Take what is in the folder and below it; what is no file or folder is noted as skipped."""
        for name in _names(source):
            self._seen += 1
            path = above + name
            if self._seen > ENTRIES_LIMIT:
                if self._seen == ENTRIES_LIMIT + 1:
                    self._skip(path, f"more than {ENTRIES_LIMIT} entries")
                return
            try:
                mode = os.lstat(name, dir_fd=source).st_mode
                if stat.S_ISDIR(mode):
                    self._enter(source, target, path, name, depth + 1)
                elif not stat.S_ISREG(mode):
                    self._skip(path, _KINDS.get(stat.S_IFMT(mode), "no regular file"))
                elif len(self.stored) >= self.limit_files:
                    self._skip(path, f"more than {self.limit_files} files")
                else:
                    self._take(source, target, path, name)
            except FileNotFoundError:
                self._skip(path, "it changed while it was being read")
            except OSError as error:
                self._skip(path, str(error.strerror))

    def _enter(self, source: int, target: _Target, path: bytes, name: bytes, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            self._skip(path, f"more than {DEPTH_LIMIT} folders deep")
            return
        below = _Target(parent=target, name=_shown(name))
        fd = open_inside(source, name, _FOLDER, resolve=INSIDE | RESOLVE_NO_XDEV)
        try:
            self._walk(fd, below, path + b"/", depth)
        finally:
            os.close(fd)
            below.close()

    def _take(self, source: int, target: _Target, path: bytes, name: bytes) -> None:
        fd = open_inside(source, name, _READ, resolve=INSIDE | RESOLVE_NO_XDEV)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                self._skip(path, "no regular file")
            elif self.total_bytes + found.st_size > self.limit_bytes:
                self._skip(path, f"over the limit of {self.limit_bytes} bytes")
            else:
                self._keep(fd, target.open(self.owner), path, name, found)
        finally:
            os.close(fd)

    def _keep(self, fd: int, folder: int, path: bytes, name: bytes, found: os.stat_result) -> None:
        mode = 0o755 if found.st_mode & 0o100 else 0o644
        out = open_inside(folder, _shown(name), _CREATE, mode=0o600)
        try:
            digest = _copy(fd, out, found.st_size)
            os.fchmod(out, mode)
            _give(out, self.owner)
        except BaseException:
            os.unlink(_shown(name), dir_fd=folder)
            raise
        finally:
            os.close(out)
        self.total_bytes += found.st_size
        self.stored.append(StoredFile(path=_shown(path), size_bytes=found.st_size, sha256=digest, mode=mode))

    def _publish(self, staged: str) -> None:
        """Files first, then the manifest that names them, each by one rename."""
        manifest = f"{staged}.json"
        fd = open_inside(self.target_fd, manifest, _CREATE, mode=0o644)
        try:
            _give(fd, self.owner)
            os.write(fd, msgspec.json.encode(self.stored))
        finally:
            os.close(fd)
        old = f"{staged}.old"
        with contextlib.suppress(FileNotFoundError):
            os.rename("files", old, src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        os.rename(staged, "files", src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        os.rename(manifest, "manifest.json", src_dir_fd=self.target_fd, dst_dir_fd=self.target_fd)
        remove_tree(self.target_fd, old)

    def _skip(self, path: bytes, reason: str) -> None:
        self.skipped_count += 1
        line = f"{_shown(path)[:500]}: {reason}"
        self.skipped_bytes += len(msgspec.json.encode(line))
        if len(self.skipped) < SKIPPED_LIMIT and self.skipped_bytes <= SKIPPED_BYTES:
            self.skipped.append(line)


def check_target(fd: int, owner: int) -> None:
    """Raises Refused for what is no folder of `owner`: root would write where the daemon itself must not."""
    found = os.fstat(fd)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise Refused(f"artefacts are collected into a folder of uid {owner} alone, this is uid {found.st_uid}'s")


def _copy(fd: int, out: int, size: int) -> str:
    """The first `size` bytes, their digest: a file that grows meanwhile is kept as it was."""
    digest, at = hashlib.sha256(), 0
    for begin, end in data_spans(fd, size):
        _digest_hole(digest, begin - at)
        at = begin
        while at < end:
            block = os.pread(fd, min(end - at, _BLOCK_BYTES), at)
            if not block:
                raise OSError(errno.ESTALE, "it shrank while it was being read")
            digest.update(block)
            view = memoryview(block)
            while view:
                written = os.pwrite(out, view, at)
                view, at = view[written:], at + written
    _digest_hole(digest, size - at)
    os.ftruncate(out, size)
    return digest.hexdigest()


def _digest_hole(digest: hashlib._Hash, size: int) -> None:
    while size > 0:
        digest.update(_ZEROS[:size])
        size -= len(_ZEROS)


def _make_folder(parent_fd: int, name: str, owner: int) -> int:
    """Its descriptor; one that is there already is taken."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent_fd)
    fd = open_inside(parent_fd, name, _FOLDER)
    _give(fd, owner)
    return fd


def _give(fd: int, owner: int) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, owner, -1)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


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
