"""What can bubblewrap enforce on this host, and what stands in its way? Its lines of `eleagent doctor`."""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eleagent.errors import EleAgentError, EngineUnavailable
from eleagent_daemon.domain.launch import HostFact
from eleagent_daemon.kernel.calls import unshare_mounts
from eleagent_daemon.runtime.groups import CONTROLLERS, Groups

_LEAST: Final = (0, 5, 0)
"""--clearenv and --perms came with it (bubblewrap's release notes)."""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""Never the caller's: who is asked for walls is not to be chosen by a variable."""
_INSTALL: Final = "apt-get install bubblewrap"
_SYSCTL: Final = Path("/proc/sys")
_OVERLAY_LEAST: Final = (5, 11)
"""Before that only root could mount an overlay (kernel, fs/overlayfs)."""
_NPROC_LEAST: Final = (5, 14)
"""From then on RLIMIT_NPROC counts within a user namespace (kernel/ucount.c); before, all that the person runs."""


def find_program() -> str:
    """bwrap's path. Raises EngineUnavailable, saying what to do, where it is missing, too old or setuid."""
    program = shutil.which("bwrap", path=_PATH)
    if program is None:
        raise EngineUnavailable(f"bubblewrap is missing: {_INSTALL}")
    if Path(program).stat().st_mode & stat.S_ISUID:
        raise EngineUnavailable(
            f"{program} is setuid, so that it would not run as the sandbox's user: chmod u-s {program}"
        )
    found = version(program)
    if _numbers(found) < _LEAST:
        least = ".".join(map(str, _LEAST))
        raise EngineUnavailable(f"{program} is version {found}, {least} or newer is needed: {_INSTALL}")
    return program


def version(program: str) -> str:
    """Of that very file, asked once. Raises EngineUnavailable."""
    return _ask_version(program, Path(program).stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _ask_version(program: str, _mtime_ns: int) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineUnavailable(f"{program} can't be run ({error}): {_INSTALL}") from None
    return said.split()[-1] if said.split() else "unknown"


def bubblewrap_facts(groups: Groups) -> list[HostFact]:
    return [_program(), *_namespaces(), *_limits(groups), *_person()]


def _program() -> HostFact:
    try:
        program = find_program()
    except EleAgentError as error:
        found, _, fix = error.message.rpartition(": ")
        return HostFact("bubblewrap", "fail", found, fix)
    return HostFact("bubblewrap", "ok", f"{version(program)} at {program}")


def _namespaces() -> Iterator[HostFact]:
    """What is switched off, by name, and else what a trial says."""
    blocked = False
    if _number("user/max_user_namespaces") == 0:
        blocked = True
        yield HostFact(
            "user namespaces", "fail", "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"
        )
    if _number("kernel/unprivileged_userns_clone") == 0:
        blocked = True
        yield HostFact(
            "user namespaces",
            "fail",
            "kernel.unprivileged_userns_clone is 0: root alone may make them",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        )
    if _number("kernel/apparmor_restrict_unprivileged_userns") == 1:
        level = "warn" if _trial() == "" else "fail"
        blocked = blocked or level == "fail"
        yield HostFact(
            "apparmor", level, "kernel.apparmor_restrict_unprivileged_userns is 1: programs need leave", _apparmor_fix()
        )
    if not blocked and (why := _trial()):
        yield HostFact(
            "user namespaces", "fail", why, "see user_namespaces(7), and what a container around this allows"
        )
    elif not blocked:
        yield HostFact("user namespaces", "ok", "may be made")


def _apparmor_fix() -> str:
    """A profile that lets exactly those two programs make user namespaces (apparmor.d(5), rule `userns`)."""
    programs = {"eleagent-launcher": os.path.realpath(sys.executable), "eleagent-bwrap": "/usr/bin/bwrap"}
    profiles = " ".join(f"profile {name} {path} flags=(unconfined) {{ userns, }}" for name, path in programs.items())
    file = "/etc/apparmor.d/eleagent"
    return f"as root: echo 'abi <abi/4.0>, {profiles}' > {file}; apparmor_parser -r {file}"


def _trial() -> str:
    """Why a mount namespace can't be had the way sandboxes need it, empty where it can."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare_mounts()
        except BaseException as error:  # noqa: BLE001 - the child's whole life
            os.write(writer, f"{error}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        why = answer.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return why


def _limits(groups: Groups) -> Iterator[HostFact]:
    missing = [name for name in CONTROLLERS if name not in groups.parents]
    kind = "2" if groups.unified else "1"
    if not missing:
        yield HostFact("control groups", "ok", f"version {kind}: limits on {', '.join(CONTROLLERS)}")
        return
    fix = (
        "run the daemon as a service with Delegate=yes, or in `systemd-run --user --scope -p Delegate=yes`; as root "
        "it needs nothing"
    )
    yield HostFact("control groups", "warn", f"version {kind}: no limits on {', '.join(missing)}", fix)
    if "pids" in missing and _kernel() < _NPROC_LEAST:
        yield HostFact(
            "processes", "warn", f"kernel {os.uname().release} counts all that you run", "Linux 5.14 or newer"
        )


def _person() -> Iterator[HostFact]:
    if os.geteuid() == 0:
        return
    fix = "run the daemon as root: sandboxes then have users and disks of their own"
    yield HostFact(
        "session disks", "warn", "no limit of bytes and inodes: they are folders on your own file system", fix
    )
    yield HostFact("sandbox users", "warn", "sandboxes run as you: you share limits such as inotify's with them", fix)
    if extra := sorted(set(os.getgroups()) - {os.getgid()}):
        yield HostFact("groups", "warn", f"sandboxes keep your groups {', '.join(map(str, extra))}", fix)
    if _kernel() < _OVERLAY_LEAST:
        yield HostFact(
            "data", "fail", f"kernel {os.uname().release} lets root alone mount overlays", "Linux 5.11 or newer"
        )


def _number(name: str) -> int | None:
    try:
        return int((_SYSCTL / name).read_text())
    except (OSError, ValueError):
        return None


def _kernel() -> tuple[int, ...]:
    return _numbers(os.uname().release)[:2]


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
