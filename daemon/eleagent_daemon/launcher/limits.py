"""Which limits does the kernel hold a process to, and how near is it? Read from control groups (v1, v2), /proc and file
systems.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from eleagent_daemon.domain.confinement import TCP_BYTES
from eleagent_daemon.domain.limits import Resources
from eleagent_daemon.kernel.mountinfo import MountLine, read

_V1_UNLIMITED: Final = 1 << 62
"""Version 1 says "no limit" as a number near 2^63, rounded down to pages."""

FULL_BYTES: Final = 1 << 20
"""With less left a file system refuses what is written: it keeps some for what is on its way (ext4, delayed blocks)."""

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


def resources(pid: int, disk: Path | None, proc: Path = Path("/proc")) -> Resources:
    """Of the sandbox whose init is `pid` (0 when it has ended), with its own file system at `disk` where it has one.
    What can be dropped again, files that were read, is not counted as memory.
    """
    space = _space(disk) if disk is not None else Resources()
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text(), read(proc / "self")) if pid else {}
    except (FileNotFoundError, ProcessLookupError):
        groups = {}
    held = _number(groups, "memory", "memory.usage_in_bytes", "memory.current") or 0
    droppable = _counter(groups, "memory", ("memory.stat", "total_inactive_file"), ("memory.stat", "inactive_file"))
    return msgspec.structs.replace(
        space,
        memory_bytes=max(0, held - droppable),
        memory_limit_bytes=_number(groups, "memory", "memory.limit_in_bytes", "memory.max") or 0,
        pids=_number(groups, "pids", "pids.current", "pids.current") or 0,
        pids_limit=_number(groups, "pids", "pids.max", "pids.max") or 0,
        cpu_s=_cpu_seconds(groups),
        cpus_limit=_cpus(groups) or 0.0,
        killed=_counter(groups, "memory", ("memory.oom_control", "oom_kill"), ("memory.events", "oom_kill")),
        refused=_counter(groups, "pids", ("pids.events", "max"), ("pids.events", "max")),
    )


def _space(disk: Path) -> Resources:
    try:
        found = os.statvfs(disk)
    except OSError:
        return Resources()
    return Resources(
        disk_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        disk_limit_bytes=found.f_blocks * found.f_frsize,
        files=found.f_files - found.f_ffree,
        files_limit=found.f_files,
        full=found.f_bavail * found.f_frsize < FULL_BYTES or found.f_ffree == 0,
    )


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


def _counter(groups: dict[str, Path], controller: str, v1: tuple[str, str], v2: tuple[str, str]) -> int:
    """The number beside a name in a file of such lines; 0 where there is none."""
    file, name = v1 if controller in groups else v2
    for line in (_text(groups, controller, file, file) or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return 0


def _cpu_seconds(groups: dict[str, Path]) -> float:
    """The time on processors of all that is or was in the group: nanoseconds in version 1, microseconds in 2."""
    if (used := _number(groups, "cpuacct", "cpuacct.usage", "")) is not None:
        return used / 1e9
    return _counter(groups, "cpuacct", ("", ""), ("cpu.stat", "usage_usec")) / 1e6


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
