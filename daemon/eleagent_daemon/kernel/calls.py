"""Which system calls does the launcher make that Python has no function for?"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 1 << 14
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
INSIDE: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
"""linux/openat2.h: a path that stays below its folder and passes no link."""

PSEUDO_FILESYSTEMS: Final = {
    0x9FA0: "proc", 0x62656572: "sysfs", 0x1CD1: "devpts", 0x27E0EB: "cgroup", 0x63677270: "cgroup2",
    0x64626720: "debugfs", 0x74726163: "tracefs", 0x73636673: "securityfs", 0xCAFE4A11: "bpf", 0x62656570: "configfs",
    0xDE5E81E4: "efivarfs", 0x6165676C: "pstore", 0x19800202: "mqueue", 0x42494E4D: "binfmt_misc", 0x6E736673: "nsfs",
    0xF97CFF8C: "selinuxfs", 0x65735543: "fusectl", 0x5A3C69F0: "apparmorfs",
}  # fmt: skip
"""linux/magic.h: file systems that hold what the kernel tells, and no files."""

_SYS_OPENAT2: Final = 437

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def mount(source: str, target: Path, fstype: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), str(target))


def unmount(target: Path, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags | UMOUNT_NOFOLLOW), str(target))


def enter_namespace(fd: int, kind: int) -> None:
    """setns(2) into a namespace of that CLONE_* kind; what called this must do its one thing and exit."""
    _check(_libc.setns(fd, kind), "setns")


def unshare_mounts() -> None:
    """A mount namespace of this process's own, in which nothing it mounts is seen outside. For a child.

    One that is not root becomes the owner of a user namespace first, in which it stays who it is and may mount.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
    else:
        _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(text)
    mount("", Path("/"), "", MS_SLAVE | MS_REC)


def die_with_parent(parent: int) -> None:
    """PR_SET_PDEATHSIG of prctl(2): SIGKILL for this process when `parent` dies, or now where it has. To be asked for
    after the last change of user, which makes the kernel forget it."""
    _check(_libc.prctl(1, 9, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def open_inside(folder_fd: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = INSIDE) -> int:
    """openat2(2), close-on-exec."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    return _check(
        _libc.syscall(_SYS_OPENAT2, folder_fd, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))),
        os.fsdecode(name),
    )


def filesystem_magic(fd: int) -> int:
    """fstatfs(2), its f_type."""
    answer = (ctypes.c_ulong * 64)()  # larger than struct statfs, whose first word f_type is
    _check(_libc.fstatfs(fd, ctypes.byref(answer)), "fstatfs")
    return answer[0] & 0xFFFFFFFF


def start_ticks(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc(5), field 22 of stat): tells a pid from its reuse.

    Raises OSError when there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def boot_id() -> str:
    """Another one after each boot (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def cpu_seconds(pid: int) -> float:
    """What the process and its children that ended have used (proc(5), fields 14 to 17 of stat); 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> tuple[str, ...]:
    """What the process was started with (proc_pid_cmdline(5)); empty for one that is gone."""
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1])
    except (FileNotFoundError, ProcessLookupError):
        return ()


def namespace_inode(pid: int, kind: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino  # noqa: PTH116 - asked of every process of the host, over and over
