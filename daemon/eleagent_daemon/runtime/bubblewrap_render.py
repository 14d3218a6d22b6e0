"""What does one sandbox spec mean to bubblewrap? Its flags, and what has to be ready around it before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eleagent_daemon.domain.confinement import DEVICES, MASKED_PATHS, READONLY_PATHS, SHM_BYTES
from eleagent_daemon.domain.root import LINKS, SETTINGS, TREE
from eleagent_daemon.domain.sandbox import Person, Placement, SandboxSpec

STAGE: Final = "/run"
"""A tmpfs there, in a mount namespace that bubblewrap alone starts from, holds everything that it mounts: whoever the
sandbox's user is can get to it, and nothing outside sees it."""

HOST_NAME: Final = "sandbox"
OOM_SCORE: Final = 500
TMPFS_INODES: Final = 100_000

Flag = tuple[str, ...]


@dataclass(frozen=True)
class Host:
    """What the host has of what a sandbox may be shown: links into TREE by path, folders beside it, settings, and those
    paths of /proc that are to be masked (by path, whether it is a folder) or read-only."""

    links: dict[str, str]
    trees: tuple[str, ...]
    settings: tuple[str, ...]
    masked: dict[str, bool]
    readonly: tuple[str, ...]

    @classmethod
    def look(cls) -> Host:
        names = [Path("/", name) for name in LINKS]
        links = {str(path): str(path.resolve())[1:] for path in names if path.is_symlink()}
        return cls(
            links=links,
            trees=(TREE, *(str(path) for path in names if path.is_dir() and str(path) not in links)),
            settings=tuple(filter(os.path.exists, SETTINGS)),
            masked={
                path: Path(path).is_dir() for path in MASKED_PATHS if path[:6] == "/proc/" and os.path.lexists(path)
            },
            readonly=tuple(filter(os.path.lexists, READONLY_PATHS)),
        )


@dataclass(frozen=True)
class Rendering:
    """`binds`: place on the stage → source of the launcher's; `temporary`: place → options of a tmpfs, all of them
    nosuid and nodev; `terminals`: place of a devpts that the stage gets, empty where one is bound.
    `flags` are bubblewrap's, without those for descriptors; `limits` are rlimits by name, and `filtered` says that
    our system call filter is loaded."""

    binds: dict[str, str]
    temporary: dict[str, str]
    terminals: str
    flags: tuple[Flag, ...]
    limits: dict[str, int]
    filtered: bool = True
    oom_score: int = OOM_SCORE


def render(spec: SandboxSpec, placement: Placement, *, binary: dict[str, str], host: Host, counted: bool) -> Rendering:
    """Every control asked for by name: a default is not a constant. `binary` is an agent's, target → source; `counted`:
    a control group limits the processes, and no rlimit has to. Pure."""
    limits = spec.limits
    readonly = {path: path for path in (*host.trees, *host.settings)} | placement.readonly | binary
    sources = [*placement.writable.items(), *readonly.items()]
    places = {target: f"{STAGE}/{number}" for number, (target, _) in enumerate(sources)}
    binds = {places[target]: source for target, source in sources}
    user = placement.person or Person(spec.uid, spec.uid)
    shared = f"noexec,nr_inodes={TMPFS_INODES},mode=1777"
    own = f"noexec,nr_inodes={TMPFS_INODES},mode=0755,uid={user.uid},gid={user.gid}"
    if placement.terminals:
        binds[f"{STAGE}/pts"] = placement.terminals
    return Rendering(
        binds=binds,
        temporary={
            f"{STAGE}/tmp": f"{shared},size={limits.tmp_bytes}",  # noqa: S108 - the stage's
            f"{STAGE}/run": f"{own},size={limits.run_bytes}",
            f"{STAGE}/shm": f"{shared},size={SHM_BYTES}",
        },
        terminals="" if placement.terminals else f"{STAGE}/pts",
        flags=tuple(_flags(spec, host, {t: places[t] for t in placement.writable}, {t: places[t] for t in readonly})),
        limits={"nofile": limits.nofile, "core": 0} | ({} if counted else {"nproc": limits.pids}),
    )


def _flags(spec: SandboxSpec, host: Host, writable: dict[str, str], readonly: dict[str, str]) -> Iterator[Flag]:
    yield from ((f"--unshare-{name}",) for name in ("user", "ipc", "pid", "net", "uts", "cgroup-try"))
    yield from (("--uid", str(spec.uid)), ("--gid", str(spec.uid)), ("--hostname", HOST_NAME))
    yield from (("--die-with-parent",), ("--new-session",), ("--cap-drop", "ALL"))
    yield from (("--symlink", target, link) for link, target in host.links.items())
    yield from (("--ro-bind", source, target) for target, source in sorted(readonly.items()))
    yield from _kernels(host)
    yield from (("--bind", f"{STAGE}/tmp", "/tmp"), ("--bind", f"{STAGE}/run", "/run"))  # noqa: S108 - inside
    yield from (("--bind", source, target) for target, source in writable.items())
    yield ("--remount-ro", "/")
    yield ("--chdir", spec.workdir)
    yield ("--clearenv",)
    yield from (("--setenv", name, value) for name, value in spec.env.items())


def _kernels(host: Host) -> Iterator[Flag]:
    """/proc with what must not be seen or written covered, and a /dev of the standard nodes; no /sys at all."""
    yield ("--proc", "/proc")
    yield from (
        ("--ro-bind", f"{STAGE}/{'folder' if is_dir else 'file'}", path) for path, is_dir in host.masked.items()
    )
    yield from (("--ro-bind", path, path) for path in host.readonly)
    yield ("--perms", "0755", "--tmpfs", "/dev")
    yield from (("--dev-bind", f"/dev/{name}", f"/dev/{name}") for name in sorted(DEVICES))
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    yield from (("--symlink", target, f"/dev/{name}") for name, target in links.items())
    yield from (("--dev-bind", f"{STAGE}/pts", "/dev/pts"), ("--symlink", "pts/ptmx", "/dev/ptmx"))
    yield from (("--bind", f"{STAGE}/shm", "/dev/shm"), ("--remount-ro", "/dev"))  # noqa: S108 - inside


def arguments(flags: Iterable[Flag]) -> bytes:
    """As `bwrap --args FD` reads them: so the environment stays out of what `ps` shows."""
    return b"".join(os.fsencode(word) + b"\0" for flag in flags for word in flag)
