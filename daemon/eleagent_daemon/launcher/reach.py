"""What below a source can the sandbox's user get at, and what of that is not the caller's to give?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from eleagent.errors import BadRequest, Refused, Unavailable
from eleagent_daemon.kernel.calls import INSIDE, RESOLVE_NO_XDEV, open_inside

SCAN_LIMIT: Final = 200_000
MASKED_LIMIT: Final = 1000
LISTED_PATHS: Final = 100
_SHOWN_CHARACTERS: Final = 300

_READ: Final = 4
_ENTER: Final = 1
_WALK: Final = INSIDE | RESOLVE_NO_XDEV
_ACLS: Final = frozenset({"system.posix_acl_access", "system.nfs4_acl", "system.richacl"})


class Reach(msgspec.Struct):
    """What a walk below a source found; paths are relative to it, and those to be masked are the kernel's own bytes.

    `unreadable`: what the mode keeps from the reader. `masked`: sockets and devices, and what the reader could get at
    though the caller can't.
    """

    unreadable: list[str] = []
    unreadable_count: int = 0
    masked: list[bytes] = []

    def keep_from_reader(self, path: str) -> None:
        self.unreadable_count += 1
        if len(self.unreadable) < LISTED_PATHS:
            self.unreadable.append(path)


@dataclass(frozen=True)
class Person:
    uid: int
    gid: int
    groups: Sequence[int] = ()

    def become(self) -> None:
        """Take on this identity for good. Root that becomes another keeps no capability."""
        if os.geteuid() == 0:
            os.setgroups(list(self.groups))
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        elif self.uid != os.geteuid():
            raise Refused(f"a launcher that is not root opens no path for uid {self.uid}")

    def bits(self, entry: os.stat_result) -> int:
        """What the mode gives: of 4 (read or list) and 1 (execute or enter), their sum."""
        if self.uid == 0:
            return _READ | _ENTER
        if self.uid == entry.st_uid:
            return entry.st_mode >> 6 & 5
        if entry.st_gid in (self.gid, *self.groups):
            return entry.st_mode >> 3 & 5
        return entry.st_mode & 5


def survey(root: int, path: str, reader: Person) -> Reach:
    """Walk the folder (or look at the file) `root` as who we are, the caller; `path` is its name in messages. For a
    child: it changes the working directory. Raises BadRequest, Refused, Unavailable.

    Each folder that the reader may enter is walked, whether it may list it or not: names can be guessed. One that the
    caller can't list and enter is masked whole. So is every file and folder of which the reader has any right and the
    caller can't read it.
    """
    reach, seen = Reach(), 0
    itself = os.fstat(root)
    is_dir, bits = stat.S_ISDIR(itself.st_mode), reader.bits(itself)
    if _is_kept(bits, is_dir=is_dir):
        reach.keep_from_reader(path)
    folders = [b""] if is_dir else []
    while folders:
        folder = folders.pop()
        try:
            # The dot at the end asks for the right to enter, besides the one to list.
            fd = open_inside(root, folder + b"/." if folder else b".", os.O_RDONLY | os.O_DIRECTORY, resolve=_WALK)
        except OSError:
            if not folder:
                raise Refused(f"{path} can't be listed with your rights") from None
            # Another file system begins here, or it is not the caller's to give.
            reach.masked.append(folder)
            continue
        try:
            os.chdir(fd)
            for name, entry in _entries(fd):
                seen += 1
                below = folder + b"/" + name if folder else name
                if _judge(reach, reader, below, name, entry):
                    folders.append(below)
                if seen > SCAN_LIMIT or len(reach.masked) > MASKED_LIMIT:
                    raise BadRequest(
                        f"{path} has more than {SCAN_LIMIT} entries, or {MASKED_LIMIT} sockets, devices and other "
                        "things to mask: name a smaller folder"
                    )
        except OSError as error:
            raise Unavailable(f"{path}/{shown(folder)} can't be looked through: {error.strerror}") from None
        finally:
            os.close(fd)
    return reach


def _judge(reach: Reach, reader: Person, path: bytes, name: bytes, entry: os.stat_result) -> bool:
    """Note what is to be said of one entry of the working directory; True for a folder that is to be walked."""
    if stat.S_ISLNK(entry.st_mode):
        return False
    is_dir, bits = stat.S_ISDIR(entry.st_mode), reader.bits(entry)
    if not (is_dir or stat.S_ISREG(entry.st_mode)):
        reach.masked.append(path)
        return False
    if _is_kept(bits, is_dir=is_dir):
        reach.keep_from_reader(shown(path))
    if is_dir:
        # Opening it tells what the caller may.
        return bool(bits) or _has_acl(name)
    if not os.access(name, os.R_OK) and (bits or _has_acl(name)):
        reach.masked.append(path)
    return False


def _is_kept(bits: int, *, is_dir: bool) -> bool:
    wanted = _READ | _ENTER if is_dir else _READ
    return bits & wanted != wanted


def _has_acl(name: bytes) -> bool:
    """Where there is one, the mode says too little about who may what."""
    try:
        return not _ACLS.isdisjoint(os.listxattr(name, follow_symlinks=False))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _entries(fd: int) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(fd) as listing:
        for entry in listing:
            try:
                yield os.fsencode(entry.name), entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:_SHOWN_CHARACTERS]
