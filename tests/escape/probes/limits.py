"""Where does the sandbox stop a process that takes all it can get?

Every bomb stops by itself at its limit + 10 % or after 3 s, so that a sandbox without the limit hurts nobody.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from registry import Given, findings, probe, said
from syscalls import LIBC

TOLERANCE = 1.1
BOMB_S = 3.0
BLOCK = bytes(1 << 20)
F_SETPIPE_SZ = 1031
INOTIFY_DEFAULT = 128


@probe("fork-bomb", expects="EAGAIN")
def fork_bomb(given: Given) -> str:
    children: list[int] = []
    ends = time.monotonic() + BOMB_S
    try:
        while len(children) < given.pids * TOLERANCE:
            if time.monotonic() > ends:
                return f"unstopped: {len(children)} processes in {BOMB_S} s"
            pid = os.fork()
            if pid == 0:
                time.sleep(BOMB_S)
                os._exit(0)
            children.append(pid)
    except OSError as error:
        return f"{said(error)}: {len(children)} processes of {given.pids}"
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    return f"unstopped: {len(children)} processes"


@probe("memory-bomb", expects="SIGKILL ENOMEM")
def memory_bomb(given: Given) -> str:
    """The kernel must end this process, nobody else, before it has limit + 10 %."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    held, size = [], 0
    ends = time.monotonic() + BOMB_S
    while size < given.memory_bytes * TOLERANCE and time.monotonic() < ends:
        held.append(b"\1" * (8 << 20))
        size += 8 << 20
    return f"unstopped: {size} bytes" if size >= given.memory_bytes else f"slow: {size} bytes in {BOMB_S} s"


@probe("memory-by-files", expects="SIGKILL ENOMEM ENOSPC")
def memory_by_files(given: Given) -> str:
    """Memory that belongs to no process: a memfd counts all the same."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    handle = os.memfd_create("bomb")
    return _fill(lambda: os.write(handle, BLOCK), given.memory_bytes)


@probe("cpu-share", expects="within")
def cpu_share(given: Given) -> str:
    """As many busy children as the share has room for and one more, for one second."""
    count = int(given.cpus) + 1
    ends = time.monotonic() + 1.0
    children = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            while time.monotonic() < ends:
                pass
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    share = used.ru_utime + used.ru_stime
    quota = _cpu_quota()
    within = share <= given.cpus * TOLERANCE + 0.1 and (quota is None or quota <= given.cpus * TOLERANCE)
    return f"{'within' if within else 'beyond'}: {share:.2f} s of {given.cpus}, quota {quota}"


def _cpu_quota() -> float | None:
    """What the cgroup gives; None where it can't be seen. On a busy machine nobody gets much, limited or not."""
    old, new = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu.max")
    if new.exists():
        quota, period = new.read_text().split()
    elif (old / "cpu.cfs_quota_us").exists():
        quota, period = ((old / f"cpu.cfs_{each}_us").read_text().strip() for each in ("quota", "period"))
    else:
        return None
    return float("inf") if quota in ("max", "-1") else int(quota) / int(period)


def _fill(write: Callable[[], int], limit: int) -> str:
    size = 0
    ends = time.monotonic() + BOMB_S
    try:
        while size < limit * TOLERANCE and time.monotonic() < ends:
            size += write()
    except OSError as error:
        return f"{said(error)}: {size} bytes of {limit}"
    return f"unstopped: {size} bytes" if size >= limit else f"slow: {size} bytes in {BOMB_S} s"


def _fill_folder(folder: str, limit: int) -> str:
    """ENOSPC is the file system's answer; where memory is the smaller limit the kernel's SIGKILL comes first."""
    path = f"{folder}/escape-fill"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.unlink(path)

    def write() -> int:
        with suppress(InterruptedError):
            return os.write(handle, BLOCK)
        return 0

    return _fill(write, limit)


@probe("fill-tmp", expects="ENOSPC")
def fill_tmp(given: Given) -> str:
    return _fill_folder("/tmp", given.tmp_bytes)


@probe("fill-run", expects="ENOSPC")
def fill_run(given: Given) -> str:
    return _fill_folder("/run", given.run_bytes)


@probe("fill-shm", expects="ENOSPC")
def fill_shm(given: Given) -> str:
    return _fill_folder("/dev/shm", given.shm_bytes)


@probe("fill-disk", expects="ENOSPC")
def fill_disk(given: Given) -> str:
    """/workspace, /artefacts and HOME share one limit."""
    handles = [
        os.open(f"{each}/escape-fill", os.O_CREAT | os.O_WRONLY) for each in ("/workspace", "/artefacts", "/home/agent")
    ]
    for each in ("/workspace", "/artefacts", "/home/agent"):
        os.unlink(f"{each}/escape-fill")
    turn = itertools.cycle(handles)
    return _fill(lambda: os.write(next(turn), BLOCK), given.disk_bytes)


@probe("fill-disk-at-once", expects="ENOSPC EFBIG")
def fill_disk_at_once(given: Given) -> str:
    path = "/workspace/escape-at-once"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.unlink(path)
    try:
        os.posix_fallocate(handle, 0, int(given.disk_bytes * TOLERANCE))
    except OSError as error:
        return said(error)
    return f"unstopped: {given.disk_bytes * TOLERANCE} bytes"


@probe("inode-bomb", expects="ENOSPC")
def inode_bomb(given: Given) -> str:
    folder = Path("/workspace/escape-inodes")
    folder.mkdir()
    made = 0
    ends = time.monotonic() + BOMB_S
    try:
        while made < given.disk_inodes * TOLERANCE and time.monotonic() < ends:
            os.close(os.open(folder / str(made), os.O_CREAT | os.O_WRONLY))
            made += 1
    except OSError as error:
        return f"{said(error)}: {made} files of {given.disk_inodes}"
    finally:
        for each in range(made):
            (folder / str(each)).unlink()
        folder.rmdir()
    return f"unstopped: {made} files" if made >= given.disk_inodes else f"slow: {made} files in {BOMB_S} s"


@probe("open-files", expects="EMFILE")
def open_files(given: Given) -> str:
    held: list[int] = []
    try:
        while len(held) < given.nofile * TOLERANCE:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return f"{said(error)}: {len(held)} of {given.nofile}"
    return f"unstopped: {len(held)}"


@probe("core-files", expects="none")
def core_files(given: Given) -> str:
    """A core goes where the host's core_pattern says, with the host's rights."""
    found = (
        [] if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else [str(resource.getrlimit(resource.RLIMIT_CORE))]
    )
    os.chdir("/workspace")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.abort()
    _, status = os.waitpid(child, 0)
    return findings(found + (["a core was written"] if os.WCOREDUMP(status) else []))


@probe("orphans-are-reaped", expects="none")
def orphans_are_reaped(given: Given) -> str:
    """An agent that is pid 1 itself collects zombies until nothing can be started."""
    for _ in range(8):
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                time.sleep(0.05)
            os._exit(0)
        os.waitpid(child, 0)
    time.sleep(0.4)
    return findings(pid for pid in os.listdir("/proc") if pid.isdigit() and _orphaned_zombie(pid))


def _orphaned_zombie(pid: str) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and fields[1] == "1"


def _watchers() -> list[int]:
    held: list[int] = []
    while (handle := LIBC.inotify_init1(0)) >= 0 and len(held) < 4000:
        held.append(handle)
    return held


def _pipes(count: int) -> list[tuple[int, int]]:
    """Pipes of 1 MiB, until the user's soft limit of pages refuses one."""
    held: list[tuple[int, int]] = []
    with suppress(OSError):
        for _ in range(count):
            pair = os.pipe()
            held.append(pair)
            fcntl.fcntl(pair[0], F_SETPIPE_SZ, 1 << 20)
    return held


def _signals(count: int) -> int:
    """Queued real-time signals; the kernel counts them for the user, not the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
    sent = 0
    while sent < count and LIBC.sigqueue(os.getpid(), int(signal.SIGRTMIN), ctypes.c_void_p(0)) == 0:
        sent += 1
    return sent


def hold_everything(seconds: float) -> None:
    """Take every inotify instance, every pipe page and every queued signal that the kernel gives one user."""
    watchers, pipes, queued = _watchers(), _pipes(200), _signals(1_000_000)
    print(f"held: {len(watchers)} watchers, {len(pipes)} pipes, {queued} signals", flush=True)
    time.sleep(seconds)


@probe("limits-are-ours", expects="works", group="neighbour")
def limits_are_ours(given: Given) -> str:
    """While another sandbox holds all that its user may have."""
    missing = []
    if len(_watchers()) < min(INOTIFY_DEFAULT, given.nofile) // 2:
        missing.append("inotify")
    reader, _ = os.pipe()
    try:
        fcntl.fcntl(reader, F_SETPIPE_SZ, 1 << 20)
    except OSError as error:
        missing.append(f"pipe {errno.errorcode[error.errno or 0]}")
    if _signals(16) < 16:
        missing.append("signals")
    left, right = socket.socketpair()
    left.send(b"x")
    if right.recv(1) != b"x":
        missing.append("sockets")
    return f"starved: {', '.join(missing)}" if missing else "works"
