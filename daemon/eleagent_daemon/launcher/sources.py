"""Which host paths may this caller put in front of a sandbox, and what is below them?"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import BadRequest, Conflict, Refused
from eleagent_daemon.domain.launch import OpenSource, Source
from eleagent_daemon.launcher.child import in_child
from eleagent_daemon.launcher.kernel import INSIDE, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, open_inside

SCAN_LIMIT: Final = 200_000
MASKED_LIMIT: Final = 1000
LISTED_PATHS: Final = 100
SHOWN_CHARACTERS: Final = 300
HELD_LIMIT: Final = 512
_SCAN_TIMEOUT_S: Final = 60.0


class _Scan(msgspec.Struct):
    """What a walk below a source found; paths are relative to it, and those to be masked are the kernel's own bytes."""

    unreadable: list[str] = []
    unreadable_count: int = 0
    masked: list[bytes] = []


@dataclass
class Held:
    """An opened source. `session` is who was placed on it, empty before that."""

    fd: int
    masked: list[bytes]
    session: str = ""


@dataclass(frozen=True)
class Caller:
    uid: int
    gid: int
    groups: Sequence[int]

    def become(self) -> None:
        """Take on this identity for good. Root that becomes another keeps no capability."""
        if os.geteuid() == 0:
            os.setgroups(list(self.groups))
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        elif self.uid != os.geteuid():
            raise Refused(f"a launcher that is not root opens no path for uid {self.uid}")

    def may(self, entry: os.stat_result, wanted: int) -> bool:
        """Whether the mode bits give `wanted` (4 read, 5 read and enter)."""
        if self.uid == 0:
            return True
        if self.uid == entry.st_uid:
            return entry.st_mode >> 6 & wanted == wanted
        if entry.st_gid in (self.gid, *self.groups):
            return entry.st_mode >> 3 & wanted == wanted
        return entry.st_mode & wanted == wanted


@dataclass
class Sources:
    """The opened sources by token: the descriptor is what counts from here on, never the path."""

    own_folders: tuple[Path, ...]
    _held: dict[str, Held] = field(default_factory=dict)

    async def open(self, verb: OpenSource) -> Source:
        """Raises BadRequest (no such path, no file or folder), Refused (no right to it, forbidden)."""
        caller = Caller(verb.uid, verb.gid, verb.groups)
        reader = Caller(verb.reader_uid, verb.reader_uid, ())
        scan, fds = await in_child(lambda: _open_and_scan(verb.path, caller, reader), _Scan, timeout_s=_SCAN_TIMEOUT_S)
        fd = fds[0]
        try:
            _refuse_forbidden(fd, verb.path, [*verb.forbidden, *map(str, self.own_folders)])
        except BaseException:
            os.close(fd)
            raise
        self._make_room()
        token = secrets.token_hex(16)
        self._held[token] = Held(fd, scan.masked)
        found = os.fstat(fd)
        return Source(
            token=token,
            is_dir=stat.S_ISDIR(found.st_mode),
            device=found.st_dev,
            inode=found.st_ino,
            unreadable=scan.unreadable,
            unreadable_count=scan.unreadable_count,
            masked=[_shown(path) for path in scan.masked[:LISTED_PATHS]],
        )

    def take(self, token: str, session: str, device: int, inode: int) -> Held:
        """The source for placing it in `session`, which keeps it until `drop`. Raises Conflict when it is not held."""
        held = self._held.get(token)
        if held is None or held.session not in ("", session):
            raise Conflict("the launcher does not hold this data source (any more): open it again")
        found = os.fstat(held.fd)
        if (found.st_dev, found.st_ino) != (device, inode):
            raise Conflict("the data source is another one than the sandbox asks for: open it again")
        held.session = session
        return held

    def drop(self, session: str) -> None:
        for token in [token for token, held in self._held.items() if held.session == session]:
            os.close(self._held.pop(token).fd)

    def _make_room(self) -> None:
        """The oldest that no session came for goes first."""
        free = [token for token, held in self._held.items() if not held.session]
        for token in free[: max(0, len(self._held) + 1 - HELD_LIMIT)]:
            os.close(self._held.pop(token).fd)


def _open_and_scan(path: str, caller: Caller, reader: Caller) -> tuple[_Scan, list[int]]:
    """In a child: everything that follows happens with the caller's rights."""
    caller.become()
    fd = _open(path, caller)
    scan = _Scan()
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        _scan(fd, caller, reader, scan)
    elif not reader.may(os.fstat(fd), 4):
        _unreadable(scan, os.fsencode(path))
    return scan, [fd]


def _open(path: str, caller: Caller) -> int:
    """What is named may be reached through links, as the caller named it; what that is, is settled here once."""
    if not path.startswith("/") or "\0" in path:
        raise BadRequest(f"data path {path!r} is not absolute")
    try:
        real = os.path.realpath(path, strict=True)
        named = open_inside(-1, real, os.O_PATH, resolve=RESOLVE_NO_SYMLINKS)
        mode = os.fstat(named).st_mode
        if stat.S_ISDIR(mode):
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=named)
        if stat.S_ISREG(mode):
            opened = open_inside(-1, real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=RESOLVE_NO_SYMLINKS)
            if os.path.sameopenfile(named, opened):
                return opened
            raise Refused(f"{path} was swapped while it was being opened")
    except PermissionError:
        raise Refused(f"you (uid {caller.uid}) may not read {path}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise BadRequest(f"no such path: {path}") from None
    except OSError as error:
        raise BadRequest(f"{path} can't be opened: {error.strerror}") from None
    raise BadRequest(f"{path} is neither a file nor a folder")


def _scan(root: int, caller: Caller, reader: Caller, scan: _Scan) -> None:
    """Note what the reader can't read; mask what is no file or folder, and what it could read but the caller can't."""
    folders, seen = [b""], 0
    while folders:
        folder = folders.pop()
        try:
            fd = open_inside(root, folder or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=INSIDE | RESOLVE_NO_XDEV)
        except OSError:
            # Another file system begins here, or the caller may not enter: what lies below is not the caller's to give.
            scan.masked.append(folder)
            _unreadable(scan, folder)
            continue
        try:
            for name, entry in _entries(fd):
                seen += 1
                path = folder + b"/" + name if folder else name
                is_dir = stat.S_ISDIR(entry.st_mode)
                wanted = 5 if is_dir else 4
                if stat.S_ISLNK(entry.st_mode):
                    continue
                if not (is_dir or stat.S_ISREG(entry.st_mode)):
                    scan.masked.append(path)
                elif not reader.may(entry, wanted):
                    _unreadable(scan, path)
                elif not caller.may(entry, wanted):
                    scan.masked.append(path)
                elif is_dir:
                    folders.append(path)
        finally:
            os.close(fd)
        if seen > SCAN_LIMIT or len(scan.masked) > MASKED_LIMIT:
            raise BadRequest(
                f"the data folder has more than {SCAN_LIMIT} entries or {MASKED_LIMIT} sockets and devices: name less"
            )


def _entries(fd: int) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(fd) as listing:
        for entry in listing:
            try:
                yield os.fsencode(entry.name), entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _unreadable(scan: _Scan, path: bytes) -> None:
    scan.unreadable_count += 1
    if len(scan.unreadable) < LISTED_PATHS:
        scan.unreadable.append(_shown(path))


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:SHOWN_CHARACTERS]


def _refuse_forbidden(fd: int, path: str, forbidden: Sequence[str]) -> None:
    """By device and inode up to the root, on both sides: a name can have aliases."""
    source = _identity(os.fstat(fd))
    above = _lineage(str(Path(f"/proc/self/fd/{fd}").readlink()))
    for name in forbidden:
        lineage = _lineage(os.path.realpath(name))
        if not lineage:
            continue
        if source in lineage or lineage[0] in above:
            raise Refused(f"{path} is, holds or lies in {name}, which EleAgent keeps for itself")


def _lineage(real: str) -> list[tuple[int, int]]:
    """Device and inode of a path and of each folder above it; empty when it does not exist."""
    found = []
    for place in (Path(real), *Path(real).parents):
        try:
            found.append(_identity(place.lstat()))
        except (FileNotFoundError, NotADirectoryError):
            if place == Path(real):
                return []
    return found


def _identity(entry: os.stat_result) -> tuple[int, int]:
    return entry.st_dev, entry.st_ino
