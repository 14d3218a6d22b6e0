"""Can a process in the sandbox make, enter or rearrange namespaces and mounts?"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from registry import Given, attempt, probe, together
from syscalls import call

KINDS = {
    "user": 0x10000000, "mount": 0x00020000, "net": 0x40000000, "pid": 0x20000000, "ipc": 0x08000000,
    "uts": 0x04000000, "cgroup": 0x02000000, "time": 0x00000080,
}  # fmt: skip
MS_REMOUNT, MS_BIND, MS_SHARED = 0x20, 0x1000, 1 << 20
AT_FDCWD, OPEN_TREE_CLONE = -100, 1
REFUSED = "EPERM ENOSYS"


def _enter_unshare(kind: str, flag: int) -> None:
    @probe(f"unshare-{kind}", expects="EPERM")
    def unshare(given: Given) -> str:
        return attempt(call, "unshare", flag)


for _kind, _flag in KINDS.items():
    _enter_unshare(_kind, _flag)


@probe("unshare-user-and-mount", expects="EPERM")
def unshare_user_and_mount(given: Given) -> str:
    return attempt(call, "unshare", KINDS["user"] | KINDS["mount"] | KINDS["net"])


def _born(pid: int) -> None:
    if pid == 0:
        os._exit(0)


@probe("clone-user", expects="EPERM")
def clone_user(given: Given) -> str:
    return attempt(lambda: _born(call("clone", KINDS["user"] | signal.SIGCHLD, 0, 0, 0, 0)))


@probe("clone-user-high-bits", expects="EPERM EINVAL")
def clone_user_high_bits(given: Given) -> str:
    return attempt(lambda: _born(call("clone", 1 << 33 | KINDS["user"] | signal.SIGCHLD, 0, 0, 0, 0)))


@probe("clone3-user", expects=REFUSED)
def clone3_user(given: Given) -> str:
    arguments = ctypes.create_string_buffer(struct.pack("8Q", KINDS["user"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    return attempt(lambda: _born(call("clone3", arguments, 64)))


@probe("setns-init", expects="EPERM EACCES")
def setns_init(given: Given) -> str:
    def enter(kind: str) -> str:
        return attempt(lambda: call("setns", os.open(f"/proc/1/ns/{kind}", os.O_RDONLY), 0))

    return together({kind: enter(kind) for kind in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup")})


@probe("setns-pidfd", expects=REFUSED + " EINVAL")
def setns_pidfd(given: Given) -> str:
    return attempt(lambda: call("setns", call("pidfd_open", 1, 0), KINDS["mount"] | KINDS["net"]))


def _mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, options: bytes = b"") -> str:
    return attempt(call, "mount", source, target, kind, flags, options)


@probe("mount", expects="EPERM")
def mount(given: Given) -> str:
    over = b"lowerdir=/,upperdir=/workspace,workdir=/workspace"
    return together({
        "tmpfs": _mount(b"none", b"/workspace", b"tmpfs"),
        "proc": _mount(b"none", b"/workspace", b"proc"),
        "sysfs": _mount(b"none", b"/workspace", b"sysfs"),
        "cgroup2": _mount(b"none", b"/workspace", b"cgroup2"),
        "overlay": _mount(b"none", b"/workspace", b"overlay", 0, over),
        "bind": _mount(b"/", b"/workspace", b"", MS_BIND),
    })  # fmt: skip


@probe("remount-writable", expects="EPERM")
def remount_writable(given: Given) -> str:
    targets = (b"/", b"/data", b"/proc/sys", b"/sys")
    return together({each.decode(): _mount(b"none", each, b"", MS_REMOUNT | MS_BIND) for each in targets})


@probe("remount-shared", expects="EPERM")
def remount_shared(given: Given) -> str:
    return _mount(b"none", b"/", b"", MS_SHARED)


@probe("unmount", expects="EPERM")
def unmount(given: Given) -> str:
    targets = (b"/data", b"/proc/kcore", b"/tmp", b"/sys/firmware", b"/proc/keys")
    return together({each.decode(): attempt(call, "umount2", each, 2) for each in targets})


@probe("mount-new-api", expects=REFUSED)
def mount_new_api(given: Given) -> str:
    return together({
        "fsopen": attempt(call, "fsopen", b"tmpfs", 0),
        "fspick": attempt(call, "fspick", AT_FDCWD, b"/", 0),
        "open_tree": attempt(call, "open_tree", AT_FDCWD, b"/", OPEN_TREE_CLONE),
        "open_tree_attr": attempt(call, "open_tree_attr", AT_FDCWD, b"/", OPEN_TREE_CLONE, 0, 0),
        "move_mount": attempt(call, "move_mount", AT_FDCWD, b"/data", AT_FDCWD, b"/workspace", 0),
        "mount_setattr": attempt(
            call, "mount_setattr", AT_FDCWD, b"/data", 0, ctypes.create_string_buffer(struct.pack("4Q", 0, 1, 0, 0)), 32
        ),
    })  # fmt: skip


@probe("chroot", expects="EPERM")
def chroot(given: Given) -> str:
    return together({
        "chroot": attempt(call, "chroot", b"/workspace"),
        "pivot_root": attempt(call, "pivot_root", b"/workspace", b"/workspace"),
    })  # fmt: skip
