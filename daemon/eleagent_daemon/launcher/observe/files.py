"""Which files of a sandbox's writable places are other than at the last look?

A look walks the places, reads what may have changed, and compares with what the last one wrote down. What the sandbox
can't forge decides whether a file is read again: its inode and the time of its last change (ctime).
"""

from __future__ import annotations

import hashlib
import os
import resource
import stat
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from eleagent.wire.observations import FileChange, FilesChanged
from eleagent_daemon.domain.observed import pack
from eleagent_daemon.kernel.calls import INSIDE, RESOLVE_NO_XDEV, open_inside
from eleagent_daemon.launcher.observe.manifest import PATH_CHARS, Known, Manifest, differences, unchanged
from eleagent_daemon.launcher.observe.passing import Went
from eleagent_daemon.launcher.observe.records import shown
from eleagent_daemon.launcher.sparse import data_spans

FILES_LIMIT: Final = 250_000
DEPTH_LIMIT: Final = 256
READ_BYTES: Final = 16 << 30
"""What one look reads at most, holes included."""
UNREAD_LIMIT: Final = 100
PASSED_LIMIT: Final = 100
TOGETHER: Final = 400
TOGETHER_BYTES: Final = 256 * 1024
FRAME: Final = 4
"""Bytes of the length before each frame in a file of changes."""

_RACY_NS: Final = 50_000_000
"""The kernel's clock of files goes in steps: what changed so shortly before it was read may change unnoticed."""
_BLOCK: Final = 1 << 20
_ZEROS: Final = memoryview(bytes(_BLOCK))
_NOFILE: Final = 2048
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Looked(msgspec.Struct):
    changes: int
    unread: int


@dataclass(kw_only=True)
class Look:
    """One look at `roots` (path in the sandbox → folder of the host). Blocking, for a child that ends afterwards."""

    roots: Mapping[str, str]
    before: Manifest
    until: float
    unread: list[str] = field(default_factory=list)
    unread_count: int = 0
    after: Manifest = field(default_factory=Manifest)
    _left: int = READ_BYTES
    _sorted: list[bytes] = field(default_factory=list)
    _began_ns: int = field(default_factory=time.time_ns)

    def run(self) -> Iterator[FileChange]:
        for place, folder in self.roots.items():
            self._place(os.fsencode(place), folder)
        yield from differences(self.before.files, self.after.files)

    def _place(self, place: bytes, folder: str) -> None:
        name = os.fsdecode(place)
        try:
            fd = os.open(folder, _FOLDER | os.O_CLOEXEC)
        except OSError as error:
            self._keep(place, str(error.strerror))
            return
        try:
            inode = os.fstat(fd).st_ino
            if self.before.roots.get(name, inode) != inode:
                self._keep(place, "it is not the folder that was looked at before")
                return
            self.after.roots[name] = inode
            self._walk(fd, place)
        finally:
            os.close(fd)

    def _walk(self, root: int, place: bytes) -> None:
        """Folder by folder, depth first, without recursion: a sandbox may nest them as deep as it likes."""
        stack = [(root, place, _names(root))]
        while stack:
            folder, above, names = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                if folder != root:
                    os.close(folder)
                continue
            path = above + b"/" + name
            try:
                found = os.lstat(name, dir_fd=folder)
                if not stat.S_ISDIR(found.st_mode):
                    self._file(folder, name, path, found)
                elif len(stack) >= DEPTH_LIMIT:
                    self._keep(path, f"more than {DEPTH_LIMIT} folders deep")
                else:
                    fd = open_inside(folder, name, _FOLDER, resolve=INSIDE | RESOLVE_NO_XDEV)
                    stack.append((fd, path, _names(fd)))
            except FileNotFoundError:  # it went while we looked
                continue
            except OSError as error:
                self._keep(path, str(error.strerror))

    def _file(self, folder: int, name: bytes, path: bytes, found: os.stat_result) -> None:
        old, known = self.before.files.get(path), _known(found)
        if len(self.after.files) >= FILES_LIMIT:
            self._note(path, f"more than {FILES_LIMIT} files")
            if old is not None:
                self.after.files[path] = old
            return
        if old is not None and old.ctime_ns and unchanged(old, known):
            self.after.files[path] = old
            return
        sha256 = b""
        if known.kind == "file":
            known, sha256 = self._read(folder, name, path, known)
        elif known.kind == "link":
            sha256 = hashlib.sha256(os.readlink(name, dir_fd=folder)).digest()
        again = known.kind == "file" and (not sha256 or known.ctime_ns > self._began_ns - _RACY_NS)
        ctime_ns = 0 if again else known.ctime_ns
        self.after.files[path] = msgspec.structs.replace(known, sha256=sha256, ctime_ns=ctime_ns)

    def _read(self, folder: int, name: bytes, path: bytes, known: Known) -> tuple[Known, bytes]:
        """What was opened, and its digest; empty, and said, where it could not be read."""
        try:
            fd = open_inside(folder, name, _READ, resolve=INSIDE | RESOLVE_NO_XDEV)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._note(path, str(error.strerror))
            return known, b""
        try:
            opened = _known(os.fstat(fd))
            if opened.kind != "file":  # it is another by now
                return opened, b""
            if opened.size > self._left or time.monotonic() > self.until:
                self._note(path, "too much to be read" if opened.size > self._left else "there was no time to read it")
                return opened, b""
            self._left -= opened.size
            digest = _digest(fd, opened.size)
            changed = os.fstat(fd).st_ctime_ns != opened.ctime_ns
            return (msgspec.structs.replace(opened, ctime_ns=self._began_ns) if changed else opened), digest
        finally:
            os.close(fd)

    def _keep(self, path: bytes, why: str) -> None:
        """It can't be looked at: what was known of it, and below it, still is."""
        self._note(path, why)
        self._sorted = self._sorted or sorted(self.before.files)
        begin, end = bisect_left(self._sorted, path + b"/"), bisect_left(self._sorted, path + b"0")  # 0 comes after /
        self.after.files.update({kept: self.before.files[kept] for kept in self._sorted[begin:end]})
        if (name := os.fsdecode(path)) in self.before.roots:
            self.after.roots[name] = self.before.roots[name]

    def _note(self, path: bytes, why: str) -> None:
        self.unread_count += 1
        if len(self.unread) < UNREAD_LIMIT:
            self.unread.append(f"{shown(path)[:500]}: {why}")
        elif len(self.unread) == UNREAD_LIMIT:
            self.unread.append("…")


def look(
    roots: Mapping[str, str], *, manifest: Path, new: Path, changes: Path, went: Went, final: bool, timeout_s: float
) -> Looked:
    """Compare with `manifest`; write what differs to `changes`, as frames with their lengths, and what is there to
    `new`. A look counts when `new` has taken the place of `manifest`. Blocking, for a child.
    """
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_NOFILE, hard), hard))
    looking = Look(roots=roots, before=_load(manifest), until=time.monotonic() + timeout_s)
    count = 0
    with changes.open("wb") as out:
        some: list[FileChange] = []
        size = 0
        for change in looking.run():
            some.append(change)
            size += 6 * (len(change.path) + len(change.before_path))
            count += 1
            if len(some) == TOGETHER or size > TOGETHER_BYTES:
                _write(out, FilesChanged(changes=some, final=final))
                some, size = [], 0
        passed = sorted(
            path for path in went.paths if not (path in looking.before.files or path in looking.after.files)
        )
        if some or looking.unread or passed or went.more or final:
            last = FilesChanged(
                changes=some,
                final=final,
                unread=looking.unread,
                passed=[shown(path)[:PATH_CHARS] for path in passed[:PASSED_LIMIT]],
                passed_more=went.more + max(0, len(passed) - PASSED_LIMIT),
            )
            _write(out, last)
    new.write_bytes(msgspec.msgpack.encode(looking.after))
    return Looked(changes=count, unread=looking.unread_count)


def frames(changes: Path) -> Iterator[bytes]:
    """What `look` wrote, one frame after the other."""
    with changes.open("rb") as file:
        while head := file.read(FRAME):
            yield file.read(int.from_bytes(head, "big"))


def _known(found: os.stat_result) -> Known:
    kind = "file" if stat.S_ISREG(found.st_mode) else "link" if stat.S_ISLNK(found.st_mode) else "other"
    return Known(kind, found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns, b"")


def _digest(fd: int, size: int) -> bytes:
    digest, at = hashlib.sha256(), 0
    for begin, end in data_spans(fd, size):
        _add_hole(digest, begin - at)
        at = begin
        while at < end and (block := os.pread(fd, min(end - at, _BLOCK), at)):
            digest.update(block)
            at += len(block)
        if at < end:  # it shrank while it was read: the next look reads it again
            return digest.digest()
    _add_hole(digest, size - at)
    return digest.digest()


def _add_hole(digest: hashlib._Hash, size: int) -> None:
    while size > 0:
        digest.update(_ZEROS[:size])
        size -= len(_ZEROS)


def _names(folder: int) -> Iterator[bytes]:
    with os.scandir(folder) as listing:
        return iter([os.fsencode(entry.name) for entry in listing])


def _load(manifest: Path) -> Manifest:
    """An empty one for a sandbox that was never looked at: all that is there was made in it."""
    try:
        return msgspec.msgpack.decode(manifest.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()


def _write(out: BinaryIO, changed: FilesChanged) -> None:
    frame = pack([changed])
    out.write(len(frame).to_bytes(FRAME, "big") + frame)
