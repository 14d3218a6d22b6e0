"""Which doors of the kernel itself are open: keys, programs, modules, clocks, other machine modes?"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import time
from collections.abc import Callable

from registry import Given, attempt, probe, together
from syscalls import LIBC, NUMBERS, X32_BIT, call, call_i386

REFUSED = "EPERM ENOSYS"
AT_FDCWD = -100
ADDR_NO_RANDOMIZE = 0x0040000
NEWUSER = 0x10000000


def _perf_attributes() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0), 112)


def _now() -> ctypes.Array[ctypes.c_char]:
    """Were it allowed, the clock would be set to what it shows."""
    return ctypes.create_string_buffer(struct.pack("qq", int(time.time()), 0))


def _handle_of(path: bytes) -> int:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    return call("name_to_handle_at", AT_FDCWD, path, handle, ctypes.byref(ctypes.c_int()), 0)


def _root_by_handle() -> int:
    """Shocker: inode 2 is the root folder of most file systems."""
    handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 136)
    return call("open_by_handle_at", os.open("/workspace", os.O_RDONLY), handle, os.O_RDONLY)


ATTEMPTS: dict[str, Callable[[], object]] = {
    "add-key": lambda: call("add_key", b"user", b"escape", b"x", 1, -3),
    "request-key": lambda: call("request_key", b"user", b"escape", 0, -3),
    "keyctl": lambda: call("keyctl", 0, -3, 1),
    "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 128), 128),
    "perf-event-open": lambda: call("perf_event_open", _perf_attributes(), 0, -1, -1, 0),
    "io-uring-setup": lambda: call("io_uring_setup", 4, ctypes.create_string_buffer(120)),
    "io-uring-register": lambda: call("io_uring_register", -1, 21, 0, 0),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "name-to-handle": lambda: _handle_of(b"/etc/passwd"),
    "open-by-handle": _root_by_handle,
    "init-module": lambda: call("init_module", ctypes.create_string_buffer(64), 64, b""),
    "finit-module": lambda: call("finit_module", os.open("/etc/passwd", os.O_RDONLY), b"", 0),
    "delete-module": lambda: call("delete_module", b"none", 0),
    "kexec-load": lambda: call("kexec_load", 0, 0, 0, 0),
    "kexec-file-load": lambda: call("kexec_file_load", -1, -1, 0, b"", 0),
    "clock-settime": lambda: call("clock_settime", 0, _now()),
    "settimeofday": lambda: call("settimeofday", _now(), 0),
    "personality": lambda: call("personality", ADDR_NO_RANDOMIZE),
    "acct": lambda: call("acct", b"/workspace/acct"),
    "swapon": lambda: call("swapon", b"/workspace/swap", 0),
    "reboot": lambda: call("reboot", 0xFEE1DEAD, 672274793, 0, 0),
    "sethostname": lambda: call("sethostname", b"escape", 6),
    "setdomainname": lambda: call("setdomainname", b"escape", 6),
    "iopl": lambda: call("iopl", 3),
    "ioperm": lambda: call("ioperm", 0x80, 1, 1),
    "syslog": lambda: call("syslog", 3, ctypes.create_string_buffer(64), 64),
    "quotactl": lambda: call("quotactl", 0x800001 << 8, b"/dev/vda", 0, 0),
    "fanotify": lambda: call("fanotify_init", 0x200, 0),
    "kcmp": lambda: call("kcmp", 1, os.getpid(), 1, 0, 0),
    "move-pages": lambda: call("move_pages", 1, 0, 0, 0, 0, 0),
    "migrate-pages": lambda: call("migrate_pages", 1, 0, 0, 0),
    "modify-ldt": lambda: call("modify_ldt", 0, ctypes.create_string_buffer(64), 64),
}  # fmt: skip


def _enter(name: str, action: Callable[[], object]) -> None:
    @probe(name, expects=REFUSED)
    def attempted(given: Given) -> str:
        return attempt(action)


for _name, _action in ATTEMPTS.items():
    _enter(_name, _action)


@probe("x32-calls", expects=REFUSED + " SIGSYS")
def x32_calls(given: Given) -> str:
    return together({
        "getpid": attempt(call, X32_BIT | NUMBERS["getpid"]),
        "unshare": attempt(call, X32_BIT | NUMBERS["unshare"], NEWUSER),
        "ptrace": attempt(call, X32_BIT | 521, 0, 0, 0, 0),
    })  # fmt: skip


@probe("i386-calls", expects=REFUSED + " SIGSYS SIGSEGV")
def i386_calls(given: Given) -> str:
    """20 is getpid there. SIGSEGV: this kernel has no 32-bit entry."""
    return attempt(call_i386, 20)


@probe("i386-unshare", expects=REFUSED + " SIGSYS SIGSEGV")
def i386_unshare(given: Given) -> str:
    return attempt(call_i386, 310, NEWUSER)


@probe("priorities", expects="EPERM EACCES")
def priorities(given: Given) -> str:
    def real_time() -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))

    return together({"nice": attempt(os.setpriority, os.PRIO_PROCESS, 0, -5), "fifo": attempt(real_time)})


@probe("raise-limits", expects="EPERM")
def raise_limits(given: Given) -> str:
    def raise_one(which: int) -> str:
        most = resource.getrlimit(which)[1]
        if most == resource.RLIM_INFINITY:
            return "done"
        try:
            resource.setrlimit(which, (most + 1, most + 1))
        except ValueError:  # what the module makes of EPERM
            return "EPERM"
        return "done"

    return together({"nofile": raise_one(resource.RLIMIT_NOFILE), "core": raise_one(resource.RLIMIT_CORE)})


@probe("terminal", expects="none ENXIO ENOENT")
def terminal(given: Given) -> str:
    """Without a terminal of the host there is none to push input into (TIOCSTI, TIOCLINUX)."""
    if any(os.isatty(each) for each in (0, 1, 2)):
        return "found: standard streams are a terminal"
    return together({"tty": attempt(os.open, "/dev/tty", os.O_RDWR), "console": attempt(_console)})


def _console() -> None:
    os.open("/dev/console", os.O_RDWR | os.O_NOCTTY)


@probe("push-terminal-input", expects="EPERM EIO")
def push_terminal_input(given: Given) -> str:
    """TIOCSTI (0x5412), plain and with a bit that the kernel drops, on a terminal of the sandbox's own."""
    _, follower = os.openpty()
    LIBC.ioctl(follower, 0x540E, 0)
    byte = ctypes.create_string_buffer(b"x")
    return together({
        "plain": attempt(call, "ioctl", follower, 0x5412, byte),
        "high-bit": attempt(call, "ioctl", follower, 0x5412 | 1 << 32, byte),
    })  # fmt: skip
