"""How does a session get a file system of its own that is limited in bytes and inodes?"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
from pathlib import Path
from typing import Final

from eleagent.errors import Unavailable
from eleagent_daemon.domain.sandbox import Limits
from eleagent_daemon.kernel.calls import MS_BIND, MS_NODEV, MS_NOSUID, mount, unmount
from eleagent_daemon.launcher.sparse import data_spans

FOLDERS: Final = ("home", "workspace", "artefacts")

_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LO_FLAGS_AUTOCLEAR: Final = 4
_LOOP_CONFIG: Final = struct.Struct("=II52xI176x64x")
"""linux/loop.h, struct loop_config: fd, block_size, and of its loop_info64 lo_flags alone; the rest is zero."""
_LOOP_ATTEMPTS: Final = 16

_MKE2FS: Final = ("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=4")
_LAZY: Final = ("-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")


def mount_disk(image: Path, target: Path, limits: Limits, uid: int) -> None:
    """Mount `image` at `target`, made sparse and formatted where it does not exist, with FOLDERS of the sandbox's user.

    Blocking, for a child. An existing image keeps its size and what is in it. Raises Unavailable.
    """
    if target.is_mount():
        return
    if not image.exists():
        _format(image, limits)
    target.mkdir(mode=0o711, parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.new")
    new.mkdir(mode=0o700, exist_ok=True)
    if new.is_mount():  # of one who was killed over it
        unmount(new)
    device = _attach(image)
    try:
        # noinit_itable: nothing writes out the inode tables that mke2fs left to later, so the image stays sparse.
        mount(device[1], new, "ext4", MS_NOSUID | MS_NODEV, "noinit_itable")
    finally:
        os.close(device[0])
    new.chmod(0o711)
    for name in FOLDERS:
        folder = new / name
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, uid, uid)
        elif folder.lstat().st_uid != uid:
            _give(folder, uid)
    # Whole from its first moment: an engine may be looking for the folders at this very time.
    mount(str(new), target, "", MS_BIND)
    unmount(new)
    new.rmdir()


def _give(folder: Path, uid: int) -> None:
    """All of it to another user of the pool, links themselves and never what they lead to. Nobody else is in there."""
    given = subprocess.run(
        ("chown", "-h", "-R", "-P", "--", f"{uid}:{uid}", str(folder)), capture_output=True, text=True, check=False
    )
    if given.returncode:
        raise Unavailable(f"{folder.name} could not be given to uid {uid}: {given.stderr.strip()[:300]}")


def _format(image: Path, limits: Limits) -> None:
    """From a template of the same limits: copying its few blocks takes a tenth of mke2fs's time."""
    template = image.parent / f"template-{limits.disk_bytes}-{limits.disk_inodes}.img"
    new = image.with_suffix(".new")
    new.unlink(missing_ok=True)
    if not template.exists():
        _make_file_system(new, limits)
        new.rename(template)
    _copy_sparse(template, new)
    new.rename(image)


def _make_file_system(new: Path, limits: Limits) -> None:
    new.touch(mode=0o600, exist_ok=False)
    os.truncate(new, limits.disk_bytes)
    command = (*_MKE2FS, "-N", str(limits.disk_inodes), *_LAZY, str(new))
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable("mke2fs is missing, which makes the session's disk: apt-get install e2fsprogs") from None
    if made.returncode:
        raise Unavailable(f"mke2fs could not make a disk of {limits.disk_bytes} bytes: {made.stderr.strip()[:300]}")


def _copy_sparse(source: Path, target: Path) -> None:
    target.touch(mode=0o600, exist_ok=False)
    with source.open("rb") as read, target.open("r+b") as write:
        size = os.fstat(read.fileno()).st_size
        write.truncate(size)
        for begin, end in data_spans(read.fileno(), size):
            at = os.lseek(write.fileno(), begin, os.SEEK_SET)
            while at < end:
                at += os.sendfile(write.fileno(), read.fileno(), at, end - at)


def _attach(image: Path) -> tuple[int, str]:
    """A loop device that frees itself at its last close or unmount: its descriptor and path."""
    with Path("/dev/loop-control").open("rb") as control, image.open("r+b") as file:
        for _ in range(_LOOP_ATTEMPTS):
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(file.fileno(), 0, _LO_FLAGS_AUTOCLEAR))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, path
    raise Unavailable("no loop device could be had for the session's disk: others took each free one")
