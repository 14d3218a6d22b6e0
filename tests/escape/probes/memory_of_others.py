"""Which processes does the sandbox show, and can one of them get at another's memory, files or descriptors?"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

from registry import Given, attempt, findings, probe, together
from syscalls import call

PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_TRACEME = 16, 0x4206, 0


def _processes() -> list[int]:
    return [int(each) for each in os.listdir("/proc") if each.isdigit()]


def _beside_a_sibling(action: Callable[[int], str]) -> str:
    sibling = os.fork()
    if sibling == 0:
        time.sleep(4)
        os._exit(0)
    try:
        return action(sibling)
    finally:
        os.kill(sibling, signal.SIGKILL)


@probe("processes", expects="none")
def processes(given: Given) -> str:
    """Every process descends from this sandbox's init, runs as its user, and there are not more than allowed."""
    found = []
    for pid in _processes():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        uid = next(each.split()[1] for each in status.splitlines() if each.startswith("Uid:"))
        if int(uid) != given.uid:
            found.append(f"{pid} of uid {uid}")
    return findings(found)


@probe("kernel-threads", expects="none")
def kernel_threads(given: Given) -> str:
    """Pid 2 with parent 0 is kthreadd: the host's own process list."""
    try:
        return findings(["kthreadd"] if "kthreadd" in Path("/proc/2/comm").read_text() else [])
    except OSError:
        return "none"


@probe("signal-outside", expects="ESRCH EPERM none")
def signal_outside(given: Given) -> str:
    own = set(_processes())
    reached = [pid for pid in range(2, 5000) if pid not in own and _exists(pid)]
    return findings(each for each in reached if each not in _processes())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A thread answers too though /proc does not list it.
    return not os.path.exists(f"/proc/{pid}")


@probe("ptrace-init", expects="EPERM ENOSYS")
def ptrace_init(given: Given) -> str:
    tried = {"attach": attempt(call, "ptrace", PTRACE_ATTACH, 1, 0, 0)}
    tried["seize"] = attempt(call, "ptrace", PTRACE_SEIZE, 1, 0, 0)
    return together(tried)


@probe("ptrace-sibling", expects="EPERM ENOSYS")
def ptrace_sibling(given: Given) -> str:
    return _beside_a_sibling(lambda sibling: attempt(call, "ptrace", PTRACE_ATTACH, sibling, 0, 0))


@probe("ptrace-me", expects="EPERM ENOSYS")
def ptrace_me(given: Given) -> str:
    return attempt(call, "ptrace", PTRACE_TRACEME, 0, 0, 0)


@probe("read-others-memory", expects="EPERM ENOSYS")
def read_others_memory(given: Given) -> str:
    word = ctypes.create_string_buffer(b"secret")
    vector = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(word), 6))

    def both(sibling: int) -> str:
        return together({
            "read": attempt(call, "process_vm_readv", sibling, vector, 1, vector, 1, 0),
            "write": attempt(call, "process_vm_writev", sibling, vector, 1, vector, 1, 0),
        })  # fmt: skip

    return _beside_a_sibling(both)


@probe("steal-descriptor", expects="EPERM ENOSYS")
def steal_descriptor(given: Given) -> str:
    return attempt(lambda: call("pidfd_getfd", call("pidfd_open", 1, 0), 0, 0))


@probe("other-roots", expects="none")
def other_roots(given: Given) -> str:
    """/proc/PID/root of every process is this sandbox's root, or closed."""
    root = os.stat("/")
    found = []
    for pid in _processes():
        try:
            other = os.stat(f"/proc/{pid}/root/")
        except OSError:
            continue
        if (other.st_dev, other.st_ino) != (root.st_dev, root.st_ino):
            found.append(pid)
    return findings(found)


def _is_closed(path: str) -> bool:
    ways = (os.O_RDWR, os.O_RDONLY, os.O_WRONLY)
    return {attempt(os.open, path, way) for way in ways} <= {"ENXIO", "EACCES"}


@probe("leaked-descriptors", expects="none")
def leaked_descriptors(given: Given) -> str:
    """Init and this process hold nothing but their streams (CVE-2024-21626 was one more). What is the kernel's own and
    has no name can't be opened from another process; what init waits by is such."""
    harmless = ("/proc/", "pipe:", "anon_inode:[eventpoll]", "anon_inode:[signalfd]", "/dev/null")
    found = []
    for pid in ("1", "self"):
        folder = f"/proc/{pid}/fd"
        for each in sorted(os.listdir(folder), key=int) if os.access(folder, os.R_OK) else ():
            try:
                target = os.readlink(f"{folder}/{each}")
            except OSError:
                continue
            if pid == "1" and target == "anon_inode:[eventfd]" and _is_closed(f"{folder}/{each}"):
                continue
            if int(each) > 2 and not target.startswith(harmless):
                found.append(f"{pid}: {each} -> {target}")
    return findings(found)


@probe("leaked-folder", expects="none")
def leaked_folder(given: Given) -> str:
    """The first process's working folder lies below the root of this sandbox."""
    try:
        target = os.readlink("/proc/1/cwd")
    except OSError:
        return "none"
    return findings([] if target.startswith("/") and "(unreachable)" not in target else [target])


@probe("canaries-in-environments", expects="none")
def canaries_in_environments(given: Given) -> str:
    words = given.canary_words()
    found = []
    for pid in _processes():
        for name in ("environ", "cmdline"):
            try:
                content = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            found += [f"{pid} {name}" for word in words if word in content]
    return findings(found)


@probe("real-keys-in-environment", expects="none")
def real_keys_in_environment(given: Given) -> str:
    shapes = ("sk-ant-api", "sk-ant-oat", "ghp_", "github_pat_", "AKIA", "xoxb-", "-----BEGIN")
    return findings(name for name, value in os.environ.items() for shape in shapes if value.startswith(shape))
