"""How does a host path get in front of a sandbox without being looked up a second time?"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eleagent.errors import BadRequest, IsolationFailed, Unavailable
from eleagent_daemon.domain.confinement import TERMINALS
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.kernel.calls import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REMOUNT,
    mount,
    open_inside,
    unmount,
)

_READ_ONLY = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV


@dataclass(frozen=True)
class Covers:
    """An empty file and an empty folder on a read-only mount, bound over what a sandbox must not see."""

    file: Path
    folder: Path


def make_private(folder: Path, *, read_only: bool = False) -> None:
    """Make `folder` a mount whose mounts get into no other mount namespace; what is bound from it has its flags."""
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder not in mounts_below(folder):
        mount(str(folder), folder, "", MS_BIND)
    mount("", folder, "", MS_PRIVATE)
    if read_only:
        mount("", folder, "", _READ_ONLY)


def make_place(fd: int, place: Path) -> None:
    """Something empty at `place` of the kind that `fd` is, to be mounted over."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
    else:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.touch(mode=0o444)


def mount_source(fd: int, target: Path, masked: Iterable[bytes], covers: Covers) -> tuple[int, int]:
    """Show what `fd` stands for at `target`, read-only, with `masked` (paths below it) covered; device and inode of
    what stands there now. Blocking, for a child.

    What lies mounted below it stays outside. mount(8) resolves /proc/self/fd/N again and can be led astray; mount(2)
    takes the descriptor's own file. Raises BadRequest for a file system that can't be shown, IsolationFailed when
    something else is mounted than was opened.
    """
    make_place(fd, target)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        _overlay(fd, target, covers.folder)
    else:
        _bind_file(fd, target)
    for path in masked:
        _cover(target, path, covers)
    mounted = target.stat()
    return mounted.st_dev, mounted.st_ino


def _overlay(fd: int, target: Path, empty: Path) -> None:
    """An overlay of the folder over an empty one: it can't be written to, and its sockets, FIFOs and locks are others
    than those of the same names below it. A bind would lead through to whoever holds their other end.
    """
    empty_fd = os.open(empty, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    layers = f"lowerdir=/proc/self/fd/{fd}:/proc/self/fd/{empty_fd},redirect_dir=nofollow"
    try:
        mount("overlay", target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, layers)
    except OSError as error:
        raise BadRequest(
            f"{Path(f'/proc/self/fd/{fd}').readlink()} is on {_file_system(fd)}, of which no overlay can be made "
            f"({error.strerror}): copy the data to a local file system"
        ) from None
    finally:
        os.close(empty_fd)


def _bind_file(fd: int, target: Path) -> None:
    mount(f"/proc/self/fd/{fd}", target, "", MS_BIND)
    mount("", target, "", _READ_ONLY)
    if not os.path.samestat(target.stat(), os.fstat(fd)):
        raise IsolationFailed(f"{target} shows another file than the one that was opened")


def _file_system(fd: int) -> str:
    device = os.fstat(fd).st_dev
    return next((line.fstype for line in mountinfo.read(Path("/proc/self")) if line.device == device), "a file system")


def _cover(root: Path, path: bytes, covers: Covers) -> None:
    """The owner of the tree may swap its parts at any time, so no link in it is followed."""
    root_fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        fd = open_inside(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    finally:
        os.close(root_fd)
    try:
        cover = covers.folder if stat.S_ISDIR(os.fstat(fd).st_mode) else covers.file
        place = Path(f"/proc/self/fd/{fd}")
        mount(str(cover), place, "", MS_BIND)
    finally:
        os.close(fd)


def mount_terminals(folder: Path) -> None:
    """A devpts of its own with TERMINALS at most, otherwise as engines make theirs (gid 5 is tty's)."""
    mount("devpts", folder, "devpts", MS_NOSUID | MS_NOEXEC, f"mode=0620,gid=5,ptmxmode=0666,max={TERMINALS}")


def mounts_below(folder: Path) -> list[Path]:
    """The mount points at and below `folder`, in the order they were made."""
    targets = (line.target for line in mountinfo.read(Path("/proc/self")))
    return [Path(target) for target in targets if f"{target}/".startswith(f"{folder}/")]


def unmount_all(folder: Path) -> None:
    """Unmount everything at and below `folder`. Raises Unavailable when something is still mounted after that."""
    for point in reversed(mounts_below(folder)):
        try:
            unmount(point)
        except OSError as error:
            if error.errno == errno.EBUSY:
                unmount(point, MNT_DETACH)
            elif error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
    if left := mounts_below(folder):
        raise Unavailable(f"{left[0]} can't be unmounted")
