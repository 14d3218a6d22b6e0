"""Which processes does a sandbox have? Asked of the kernel's control groups, versions 1 and 2."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def processes(init: int) -> list[int]:
    """Host pids of all processes in the control group of `init` and below it, `init` first; empty when it is gone.

    Whoever can't write to the control groups can't leave his own, and a sandbox has none to write to.
    """
    try:
        folder = _folder(Path(f"/proc/{init}/cgroup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return []
    found: set[int] = set()
    for path, _, _ in os.walk(folder):
        try:
            found.update(int(pid) for pid in Path(path, "cgroup.procs").read_text().split())
        except (FileNotFoundError, OSError):
            continue  # the group went away meanwhile, and its processes with it
    return [init, *sorted(found - {init})] if init in found else []


def _folder(membership: str) -> Path:
    """From /proc/PID/cgroup, lines `hierarchy:controllers:path` (cgroups(7)): version 1's pids, or version 2's one."""
    unified = ""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            return _ROOT / "pids" / path.lstrip("/")
        if not controllers:
            unified = path
    return _ROOT / unified.lstrip("/")
