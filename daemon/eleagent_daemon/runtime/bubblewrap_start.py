"""How does bubblewrap come to run: as whom, within which namespaces and limits, and who holds its pipes?

Three processes: the holder (holder.py), which outlives the launcher; its child bubblewrap, which waits for the sandbox;
and the sandbox's own init. What is done here between fork and exec blocks, and nothing of it comes back.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from eleagent_daemon.domain.confinement import READONLY_PATHS
from eleagent_daemon.domain.root import LINKS, TREE
from eleagent_daemon.domain.sandbox import Person
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.kernel.calls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    die_with_parent,
    enter_namespace,
    mount,
    start_ticks,
    unmount,
    unshare_mounts,
)
from eleagent_daemon.runtime import holder
from eleagent_daemon.runtime.bubblewrap_render import STAGE, Rendering, arguments

HOLDER: Final = "holder"
"""Who holds: his pid and start, his descriptor of stdin's write end, and pid and start of bubblewrap."""
INFO: Final = "info"
"""What bubblewrap says of the sandbox's first process."""
_NEEDED: Final = (STAGE, "/proc", "/dev", TREE, *(f"/{name}" for name in LINKS))
"""Where bubblewrap itself lies, and what it mounts from."""
_STAGE_OPTIONS: Final = "mode=0755,size=1m"
_TERMINALS: Final = "mode=0620,ptmxmode=0666"
_RLIMITS: Final = {
    "nofile": resource.RLIMIT_NOFILE,
    "core": resource.RLIMIT_CORE,
    "nproc": resource.RLIMIT_NPROC,
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """`user` is whom the sandbox's processes are on the host. `namespaces` are descriptors, as in `Placement`; `groups`
    the files that a process writes its number to, to join a control group. `folder` is the holder's."""

    program: str
    rendering: Rendering
    command: Sequence[str]
    seccomp: bytes
    user: Person
    namespaces: Sequence[int]
    groups: Sequence[Path]
    folder: Path
    terminals_limit: int


def spawn(start: Start) -> int:
    """Fork the holder, which becomes `python -I -S holder.py`, and from it what becomes bubblewrap; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _hold(start)
    except BaseException as error:  # noqa: BLE001 - a fork never comes back to the event loop
        os.write(2, f"the sandbox's holder could not start: {error}\n".encode())
    os._exit(1)


def _hold(start: Start) -> NoReturn:
    os.setsid()
    pipes = {name: os.pipe() for name in ("in", "out", "err")}
    if os.geteuid() == 0:
        for name in ("in", "out", "err"):
            os.fchown(pipes[name][0], start.user.uid, start.user.gid)  # for /dev/stdout and its like
    child = os.fork()
    if child == 0:
        _become_bubblewrap(start, pipes)
    stdin, out, err = pipes["in"][1], pipes["out"][0], pipes["err"][0]
    os.chdir(start.folder)
    us, them = (f"{pid} {start_ticks(pid)}" for pid in (os.getpid(), child))
    holder.put(HOLDER, f"{us} {stdin} {them}")  # it keeps its number and its start through the exec
    kept = [stdin, out, err]
    for fd in kept:
        os.set_inheritable(fd, True)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _close_but({0, 1, 2, *kept})
    command = [sys.executable, "-I", "-S", holder.__file__, str(start.folder), *map(str, (child, out, err))]
    os.execve(command[0], command, {})  # noqa: S606 - no shell is meant


def _become_bubblewrap(start: Start, pipes: dict[str, tuple[int, int]]) -> NoReturn:
    """What goes wrong is said where the sandbox's own words would be."""
    os.dup2(pipes["err"][1], 2)
    try:
        parent = os.getppid()
        info = os.open(start.folder / INFO, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for group in start.groups:
            group.write_text(str(os.getpid()))
        Path("/proc/self/oom_score_adj").write_text(str(start.rendering.oom_score))
        _set_stage(start)
        for name, most in start.rendering.limits.items():
            hard = resource.getrlimit(_RLIMITS[name])[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(_RLIMITS[name], (least, least))
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(start.user.gid, start.user.gid, start.user.gid)
            os.setresuid(start.user.uid, start.user.uid, start.user.uid)
        die_with_parent(parent)
        os.umask(0o022)
        os.chdir("/")
        os.dup2(pipes["in"][0], 0)
        os.dup2(pipes["out"][1], 1)
        given = _memory("arguments", arguments(start.rendering.flags))
        descriptors = {"--info-fd": info}
        if start.rendering.filtered:
            descriptors["--seccomp"] = _memory("filter", start.seccomp)
        words = [str(word) for pair in descriptors.items() for word in pair]
        kept = [given, *descriptors.values()]
        for fd in kept:
            os.set_inheritable(fd, True)
        _close_but({0, 1, 2, *kept})
        command = [start.program, "--args", str(given), *words, "--", *start.command]
        os.execve(command[0], command, {})  # noqa: S606 - no shell is meant
    except BaseException as error:  # noqa: BLE001 - a fork never comes back to the event loop
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(1)


def _set_stage(start: Start) -> None:
    """Everything that bubblewrap is to mount, ready in a mount namespace of its own."""
    if start.namespaces:
        for fd, kind in zip(start.namespaces, (CLONE_NEWUSER, CLONE_NEWNS), strict=True):
            enter_namespace(fd, kind)
    else:
        unshare_mounts()
    rendering = start.rendering
    # Opened before the stage hides what lies at its place.
    sources = {place: os.open(source, os.O_PATH | os.O_CLOEXEC) for place, source in rendering.binds.items()}
    mount("tmpfs", Path(STAGE), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, _STAGE_OPTIONS)
    Path(STAGE, "folder").mkdir(0o555)
    Path(STAGE, "file").touch(0o444)
    for place, fd in sources.items():
        if Path(f"/proc/self/fd/{fd}").is_dir():
            Path(place).mkdir()
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o444))
        mount(f"/proc/self/fd/{fd}", Path(place), "", MS_BIND | MS_REC)
        mount("", Path(place), "", MS_PRIVATE | MS_REC)  # what the host mounts below it later stays outside
        os.close(fd)
    mount("", Path("/proc"), "", MS_PRIVATE | MS_REC)
    for mounted in mountinfo.read(Path("/proc/self")):
        if any(mounted.target.startswith(f"{path}/") for path in READONLY_PATHS):  # binfmt_misc and its like
            cover = Path(STAGE, "folder" if Path(mounted.target).is_dir() else "file")
            mount(str(cover), Path(mounted.target), "", MS_BIND)
    for place, options in rendering.temporary.items():
        Path(place).mkdir()
        words = options.split(",")
        noexec = MS_NOEXEC if "noexec" in words else 0
        kept = ",".join(word for word in words if word != "noexec")
        mount("tmpfs", Path(place), "tmpfs", MS_NOSUID | MS_NODEV | noexec, kept)
    if rendering.terminals:
        pts = Path(rendering.terminals)
        pts.mkdir()
        mount("devpts", pts, "devpts", MS_NOSUID | MS_NOEXEC, f"{_TERMINALS},max={start.terminals_limit}")
    _let_go()


def _let_go() -> None:
    """What else the host has mounted is not kept by this namespace, which lives as long as the sandbox: other sessions'
    disks, somebody's stick. Who is not root may not unmount what he was given, and has no such disks.
    """
    if os.geteuid() != 0:
        return
    for mounted in reversed(mountinfo.read(Path("/proc/self"))):
        if not any(f"{mounted.target}/".startswith(f"{kept}/") for kept in _NEEDED) and mounted.target != "/":
            with contextlib.suppress(OSError):
                unmount(Path(mounted.target), MNT_DETACH)


def _memory(name: str, data: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _close_but(kept: set[int]) -> None:
    low = 0
    for fd in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        if low < fd:
            os.closerange(low, fd)
        low = fd + 1
