"""Which host paths may this caller put in front of a sandbox, and what is below them?"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eleagent.errors import BadRequest, Conflict, Refused
from eleagent_daemon.domain.launch import OpenSource, Source
from eleagent_daemon.kernel.calls import PSEUDO_FILESYSTEMS, RESOLVE_NO_SYMLINKS, filesystem_magic, open_inside
from eleagent_daemon.kernel.child import in_child
from eleagent_daemon.launcher.reach import LISTED_PATHS, Person, Reach, shown, survey

HELD_LIMIT: Final = 512
_SCAN_TIMEOUT_S: Final = 60.0


@dataclass
class Held:
    """An opened source. `session` is who was placed on it, empty before that."""

    fd: int
    masked: list[bytes]
    session: str = ""


@dataclass
class Sources:
    """The opened sources by token: the descriptor is what counts from here on, never the path."""

    own_folders: tuple[Path, ...]
    _held: dict[str, Held] = field(default_factory=dict)

    async def open(self, verb: OpenSource) -> Source:
        """Raises BadRequest (no such path, no file or folder), Refused (no right to it, forbidden)."""
        caller = Person(verb.uid, verb.gid, verb.groups)
        reader = Person(verb.reader_uid, verb.reader_uid)
        _, (fd,) = await in_child(lambda: _open_as(caller, verb.path), type(None))
        try:
            _refuse_kernels(fd, verb.path)
            _refuse_forbidden(fd, verb.path, [*verb.forbidden, *map(str, self.own_folders)])
            reach, _ = await in_child(
                lambda: _survey_as(caller, fd, verb.path, reader), Reach, keep=[fd], timeout_s=_SCAN_TIMEOUT_S
            )
        except BaseException:
            os.close(fd)
            raise
        self._make_room()
        token = secrets.token_hex(16)
        self._held[token] = Held(fd, reach.masked)
        found = os.fstat(fd)
        return Source(
            token=token,
            is_dir=stat.S_ISDIR(found.st_mode),
            device=found.st_dev,
            inode=found.st_ino,
            unreadable=reach.unreadable,
            unreadable_count=reach.unreadable_count,
            masked=[shown(path) for path in reach.masked[:LISTED_PATHS]],
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


def _open_as(caller: Person, path: str) -> tuple[None, list[int]]:
    caller.become()
    return None, [_open(path, caller)]


def _survey_as(caller: Person, fd: int, path: str, reader: Person) -> tuple[Reach, list[int]]:
    caller.become()
    return survey(fd, path, reader), []


def _open(path: str, caller: Person) -> int:
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


def _refuse_kernels(fd: int, path: str) -> None:
    """What the kernel tells of itself, and devices: no data, and some of it is a way to the host."""
    # /dev is a tmpfs like any other by its number
    devices = _identity(Path("/dev").stat())
    kind = PSEUDO_FILESYSTEMS.get(filesystem_magic(fd)) or ("dev" if _identity(os.fstat(fd)) == devices else "")
    if kind:
        raise Refused(f"{path} is the kernel's own ({kind}), not a file system with data: name another path")


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
