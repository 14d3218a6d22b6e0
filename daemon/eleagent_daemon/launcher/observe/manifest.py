"""What is known of a sandbox's files, and how do two such lists differ?"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from eleagent.wire.observations import Change, FileChange
from eleagent_daemon.launcher.observe.records import shown

PATH_CHARS: Final = 4096


class Known(msgspec.Struct, array_like=True, frozen=True):
    """A file as a look found it. `ctime_ns` is 0 where it has to be read again; `sha256` is empty where it could not
    be.
    """

    kind: str
    inode: int
    size: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    sha256: bytes

    def same_content(self, other: Known) -> bool:
        return (self.kind, self.size, self.sha256) == (other.kind, other.size, other.sha256) and bool(self.sha256)


class Manifest(msgspec.Struct):
    """`roots` are the places' inodes: another folder at the same path is not compared."""

    roots: dict[str, int] = {}
    files: dict[bytes, Known] = {}


def differences(before: Mapping[bytes, Known], after: Mapping[bytes, Known]) -> Iterator[FileChange]:
    """By path. A file that went and one that came are one that was renamed where inode, content and time of writing are
    the same: a new file may get the inode of a deleted one, but not with the others too.
    """
    gone = {(old.inode, old.mtime_ns): path for path, old in before.items() if path not in after}
    moved: dict[bytes, bytes] = {}
    for path, found in after.items():
        at = gone.get((found.inode, found.mtime_ns)) if path not in before else None
        if at is not None and before[at].same_content(found):
            moved[path] = gone.pop((found.inode, found.mtime_ns))
    left = set(moved.values())
    for path in sorted(before.keys() | after.keys()):
        if path in left:
            continue
        change = _difference(path, before.get(path), after.get(path), before, moved)
        if change is not None:
            yield change


def _difference(
    path: bytes, old: Known | None, found: Known | None, before: Mapping[bytes, Known], moved: Mapping[bytes, bytes]
) -> FileChange | None:
    name = shown(path)[:PATH_CHARS]
    if found is None:
        assert old is not None  # noqa: S101 - it is in one of the two
        return FileChange(
            path=name, change=Change.DELETED, kind=old.kind, before_size_bytes=old.size, before_sha256=old.sha256.hex()
        )
    here = FileChange(
        path=name,
        change=Change.CREATED,
        kind=found.kind,
        size_bytes=found.size,
        sha256=found.sha256.hex(),
        mode=stat.S_IMODE(found.mode),
    )
    if path in moved:
        return msgspec.structs.replace(
            here, change=Change.RENAMED, before_path=shown(moved[path])[:PATH_CHARS],
            before_size_bytes=before[moved[path]].size, before_sha256=before[moved[path]].sha256.hex(),
        )  # fmt: skip
    if old is None:
        return here
    if _same(old, found):
        return None
    return msgspec.structs.replace(
        here, change=Change.CHANGED, before_size_bytes=old.size, before_sha256=old.sha256.hex()
    )


def _same(old: Known, found: Known) -> bool:
    """As far as a person cares: type, mode and content; of what has no content, that it is the same one."""
    if old.mode != found.mode or found.kind == "other":
        return (old.mode, old.inode) == (found.mode, found.inode)
    if old.sha256 and found.sha256:
        return old.same_content(found)
    return unchanged(old, found)


def unchanged(old: Known, found: Known) -> bool:
    """Nothing can have been written to it in between."""
    return (old.inode, old.size, old.mode, old.mtime_ns, old.ctime_ns) == (
        found.inode, found.size, found.mode, found.mtime_ns, found.ctime_ns,
    )  # fmt: skip
