"""Which limits does the kernel hold a process to? Read from control groups (v1, v2), /proc and file systems."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from eleagent_daemon.domain.confinement import TCP_BYTES
from eleagent_daemon.kernel.mountinfo import MountLine, read

_V1_UNLIMITED: Final = 1 << 62
"""Version 1 says "no limit" as a number near 2^63, rounded down to pages."""

_TCP_LIMIT: Final = "memory.kmem.tcp.limit_in_bytes"


@dataclass(frozen=True)
class CgroupLimits:
    """None: no such limit, or not to be read. `memory_swap_bytes` is memory and swap together,
    `memory_tcp_bytes` memory and the buffers of TCP: version 2 counts them as memory, version 1 on their own.
    """

    memory_bytes: int | None
    memory_swap_bytes: int | None
    memory_tcp_bytes: int | None
    cpus: float | None
    pids: int | None


@dataclass(frozen=True)
class DiskLimits:
    bytes: int | None
    inodes: int | None


def cgroup_limits(pid: int, proc: Path = Path("/proc")) -> CgroupLimits:
    """Of the control groups that `pid` itself is in, found through this process's own mounts of them."""
    mounts = read(proc / "self")
    groups = _groups((proc / str(pid) / "cgroup").read_text(), mounts)
    memory = _number(groups, "memory", "memory.limit_in_bytes", "memory.max")
    both = _number(groups, "memory", "memory.memsw.limit_in_bytes", "")
    if both is None:
        swap = _number(groups, "memory", "", "memory.swap.max")
        swap = 0 if swap is None and _no_swap(proc) else swap
        both = None if memory is None or swap is None else memory + swap
    buffers = _number(groups, "memory", _TCP_LIMIT, "") if "memory" in groups else 0
    tcp = None if memory is None or buffers is None else memory + buffers
    return CgroupLimits(memory, both, tcp, _cpus(groups), _number(groups, "pids", "pids.max", "pids.max"))


def limit_tcp(sandbox_id: str, pid: int, proc: Path = Path("/proc")) -> None:
    """Hold a sandbox to TCP_BYTES of socket buffers where they are counted apart (version 1): in the control group of
    its `pid`, if that bears its name. Where that can't be done attestation misses the limit.
    """
    with contextlib.suppress(OSError):
        group = _groups((proc / str(pid) / "cgroup").read_text(), read(proc / "self")).get("memory")
        if group is not None and sandbox_id in str(group):
            (group / _TCP_LIMIT).write_text(str(TCP_BYTES))


def rlimits(text: str) -> dict[str, int]:
    """Hard limits by name from /proc/PID/limits (`Max open files`); what is unlimited is left out."""
    found = {}
    for line in text.splitlines()[1:]:
        name, values = line[:26].strip(), line[26:].split()
        if len(values) > 1 and values[1].isdigit():
            found[name] = int(values[1])
    return found


def disk_limits(folder: int) -> DiskLimits:
    """What the file system of an open folder can hold at all; a project quota shows here as its size."""
    found = os.statvfs(folder)
    return DiskLimits(found.f_blocks * found.f_frsize, found.f_files or None)


def _groups(membership: str, mounts: list[MountLine]) -> dict[str, Path]:
    """The folder of each version 1 controller, and of version 2 under the empty name."""
    folders: dict[str, Path] = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in mounts:
            if mount.fstype != ("cgroup" if controllers else "cgroup2"):
                continue
            if controllers and not set(controllers.split(",")) <= set(mount.super_options):
                continue
            if ".." not in PurePosixPath(path).parts and PurePosixPath(path).is_relative_to(mount.root):
                folder = Path(mount.target) / PurePosixPath(path).relative_to(mount.root)
                for name in controllers.split(","):
                    folders.setdefault(name, folder)
    return folders


def _text(groups: dict[str, Path], controller: str, v1: str, v2: str) -> str | None:
    for name, file in ((controller, v1), ("", v2)):
        if file and name in groups:
            try:
                return (groups[name] / file).read_text().strip()
            except OSError:
                continue
    return None


def _number(groups: dict[str, Path], controller: str, v1: str, v2: str) -> int | None:
    text = _text(groups, controller, v1, v2)
    if text is None or not text.isdigit() or int(text) >= _V1_UNLIMITED:
        return None
    return int(text)


def _cpus(groups: dict[str, Path]) -> float | None:
    quota = _number(groups, "cpu", "cpu.cfs_quota_us", "")
    period = _number(groups, "cpu", "cpu.cfs_period_us", "")
    if quota is None or period is None:
        words = (_text(groups, "cpu", "", "cpu.max") or "").split()
        if len(words) != 2 or not words[0].isdigit():
            return None
        quota, period = int(words[0]), int(words[1])
    return quota / period if period else None


def _no_swap(proc: Path) -> bool:
    try:
        return len((proc / "swaps").read_text().splitlines()) <= 1
    except OSError:
        return False
