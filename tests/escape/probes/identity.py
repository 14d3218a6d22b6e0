"""Who is a process in the sandbox, and can it become somebody else?"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import time

from registry import Given, attempt, findings, probe, together
from syscalls import LIBC

PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_NET_BIND_SERVICE = 10
POOL = range(10001, 10001 + 4096)


def status_of(pid: int | str = "self") -> dict[str, str]:
    with open(f"/proc/{pid}/status") as lines:
        return {name: value.strip() for name, _, value in (each.partition(":") for each in lines)}


@probe("identity", expects="none")
def identity(given: Given) -> str:
    """One number for everything, from the range that nobody else on a host has."""
    found = [f"uid {each}" for each in os.getresuid() if each != given.uid or each not in POOL]
    found += [f"gid {each}" for each in (*os.getresgid(), *os.getgroups()) if each != given.uid]
    return findings(found)


@probe("capabilities", expects="none")
def capabilities(given: Given) -> str:
    status = status_of()
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return findings(f"{name} {status[name]}" for name in names if int(status[name], 16))


@probe("capability-raise", expects="EPERM EINVAL")
def capability_raise(given: Given) -> str:
    def ambient() -> None:
        if LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    def every() -> None:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if LIBC.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6))):
            raise OSError(ctypes.get_errno(), "capset")

    return together({"ambient": attempt(ambient), "capset": attempt(every)})


@probe("no-new-privileges", expects="1")
def no_new_privileges(given: Given) -> str:
    return status_of()["NoNewPrivs"]


@probe("seccomp-filter", expects="2")
def seccomp_filter(given: Given) -> str:
    return status_of()["Seccomp"]


@probe("become-root", expects="EPERM EINVAL")
def become_root(given: Given) -> str:
    return together({
        "setuid": attempt(os.setuid, 0),
        "setresuid": attempt(os.setresuid, 0, 0, 0),
        "setgid": attempt(os.setgid, 0),
        "setgroups": attempt(os.setgroups, [0]),
    })  # fmt: skip


@probe("become-another-sandbox", expects="EPERM EINVAL")
def become_another_sandbox(given: Given) -> str:
    return attempt(os.setuid, given.uid + 1)


@probe("setuid-binaries", expects="none")
def setuid_binaries(given: Given) -> str:
    """Each is started; it must not get another effective user or group. `su` and the like wait on our silent stdin."""
    found = []
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib/openssh"):
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            if entry.is_file(follow_symlinks=False) and entry.stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
                found += _gains(entry.path, given.uid)
    return findings(found)


def _gains(path: str, uid: int) -> list[str]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as process:
        ends = time.monotonic() + 0.25
        gained: set[str] = set()
        while process.poll() is None and time.monotonic() < ends and not gained:
            status = status_of(process.pid)
            gained = {each for each in (*status["Uid"].split(), *status["Gid"].split()) if int(each) != uid}
        process.kill()
    return [f"{path} runs as {' '.join(sorted(gained))}"] if gained else []
