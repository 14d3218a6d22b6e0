"""What do kernel and engine say about a sandbox? Collected from the host's view of its processes, judged elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from eleagent.errors import NotFound
from eleagent_daemon.domain.confinement import MASKED_PATHS, NAMESPACES, READONLY_PATHS
from eleagent_daemon.domain.evidence import Evidence, MountPoint, Process
from eleagent_daemon.domain.sandbox import UNPRIVILEGED_PORT_START, WORKSPACE_DIR, SandboxSpec
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.launcher.limits import DiskLimits, cgroup_limits, disk_limits, rlimits
from eleagent_daemon.launcher.seccomp_read import read_filters

_GONE: Final = (FileNotFoundError, ProcessLookupError)
_TCP: Final = ((socket.AF_INET, "TCP"), (socket.AF_INET6, "TCP6"))
_LISTEN: Final = "0A"
_UNIX_LISTENING: Final = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix


def collect(
    *,
    sandbox_id: str,
    started_at: str,
    pids: Sequence[int],
    spec: SandboxSpec,
    engine: dict[str, str],
    released: bool,
    owner: int,
    proc: Path = Path("/proc"),
) -> Evidence:
    """The facts about the sandbox whose host pids are `pids`, the init first.

    Blocking, for a child: it traces. `port_start` is left to who enters the network namespace. `released`: the agent
    runs, and may listen on its own loopback. `owner` is its user, as the host sees him. Processes that end meanwhile
    are left out. Raises NotFound when the init itself is gone.
    """
    init = proc / str(pids[0] if pids else 0)
    with _alive(init, sandbox_id) as (root, ticks):
        parents, processes = {}, []
        for pid in pids:
            with contextlib.suppress(*_GONE):
                fields = _status(proc / str(pid))
                if not _is_dead(fields):
                    parents[pid] = int(fields["PPid"])
                    processes.append(_process(pid, fields))
        mounts = mountinfo.read(init)
        seccomp = _seccomp(proc, [pid for pid, parent in parents.items() if parent not in parents])
        limits = cgroup_limits(pids[0], proc)
        resources = rlimits((init / "limits").read_text())
        disk = _disk(root)
        namespaces, hosts = _namespaces(init), _namespaces(proc / "self")
        # RLIMIT_NPROC is of a user: of this sandbox's alone where it has a user namespace of its own (kernel/ucount.c).
        counted_inside = namespaces.get("user") not in (None, hosts.get("user"))
        return Evidence(
            sandbox_id=sandbox_id,
            started_at=started_at,
            pid=pids[0],
            pid_start_ticks=ticks,
            processes=tuple(processes),
            mounts=tuple(_mount_point(root, mount) for mount in mounts),
            namespaces=namespaces,
            host_namespaces=hosts,
            net_devices=_net_devices(init),
            net_routes=_net_routes(init),
            foreign_listeners=_foreign_listeners(init, spec, owner if released else None),
            exposed=_exposed(root, {mount.target for mount in mounts}),
            devices=_devices(root),
            seccomp=seccomp,
            memory_bytes=limits.memory_bytes,
            memory_swap_bytes=limits.memory_swap_bytes,
            memory_tcp_bytes=limits.memory_tcp_bytes,
            cpus=limits.cpus,
            pids=resources.get("Max processes") if limits.pids is None and counted_inside else limits.pids,
            nofile=resources.get("Max open files"),
            core_bytes=resources.get("Max core file size"),
            disk_bytes=disk.bytes,
            disk_inodes=disk.inodes,
            engine=engine,
        )


@contextlib.contextmanager
def _alive(init: Path, sandbox_id: str) -> Iterator[tuple[int, int]]:
    """The root folder of the init and its start in ticks, which is the same before and after."""
    try:
        ticks = _start_ticks(init)
        root = os.open(init / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root, ticks
        finally:
            os.close(root)
        if _start_ticks(init) == ticks:
            return
    except _GONE:
        pass
    raise NotFound(f"the first process of sandbox {sandbox_id} ({init.name}) has ended: nothing is left to attest")


def _start_ticks(process: Path) -> int:
    # The name may hold spaces and parentheses: field 22 counts from after the last one (proc_pid_stat(5)).
    return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[19])


def _status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _process(pid: int, fields: dict[str, str]) -> Process:
    def numbers(name: str) -> tuple[int, ...]:
        return tuple(int(word) for word in fields[name].split())

    return Process(
        pid=pid,
        name=fields["Name"],
        uids=numbers("Uid"),
        gids=numbers("Gid"),
        groups=numbers("Groups"),
        cap_inheritable=fields["CapInh"],
        cap_permitted=fields["CapPrm"],
        cap_effective=fields["CapEff"],
        cap_bounding=fields["CapBnd"],
        cap_ambient=fields["CapAmb"],
        no_new_privs=fields["NoNewPrivs"] == "1",
        seccomp_mode=int(fields.get("Seccomp", "0")),
        seccomp_filters=int(fields.get("Seccomp_filters", "-1")),
    )


def _is_dead(fields: dict[str, str]) -> bool:
    """A zombie does nothing any more."""
    return fields["State"].startswith(("Z", "X"))


def _has_ended(process: Path) -> bool:
    try:
        return _is_dead(_status(process))
    except _GONE:
        return True


def _seccomp(proc: Path, entered: Sequence[int]) -> tuple[tuple[bytes, ...], ...] | None:
    """The filters of those processes that came from outside: all others inherited theirs and can only add to them, and
    need not be stopped."""
    read = {pid: read_filters(pid).programs for pid in entered}
    known = {programs for programs in read.values() if programs is not None}
    if not known or not all(_has_ended(proc / str(pid)) for pid, programs in read.items() if programs is None):
        return None
    return tuple(sorted(known))


def _open_beneath(root: int, target: str, flags: int = os.O_PATH) -> int:
    """A descriptor of `target` below `root`, following no symlink on the way (a walk could lead out of the sandbox)."""
    folder = os.dup(root)
    try:
        parts = PurePosixPath(target).parts[1:]
        for at, part in enumerate(parts, start=1):
            last = flags | os.O_NOFOLLOW if at == len(parts) else os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY
            below = os.open(part, last | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = below
    except OSError:
        os.close(folder)
        raise
    return folder


def _mount_point(root: int, mount: mountinfo.MountLine) -> MountPoint:
    try:
        opened = _open_beneath(root, mount.target)
        try:
            found = os.fstat(opened)
        finally:
            os.close(opened)
        device, inode = found.st_dev, found.st_ino
    except OSError:
        device = inode = 0  # covered by another mount, or not for us to see: equal to nothing that was opened
    return MountPoint(
        mount.target, mount.fstype, mount.source, mount.options, mount.super_options, device, inode, mount.shared
    )


def _exposed(root: int, targets: set[str]) -> tuple[str, ...] | None:
    exposed = []
    for path in (*MASKED_PATHS, *READONLY_PATHS):
        if path in targets:
            continue
        try:
            os.close(_open_beneath(root, path))
        except FileNotFoundError:
            continue
        except OSError:
            return None
        exposed.append(path)
    return tuple(exposed)


def _devices(root: int) -> tuple[str, ...] | None:
    try:
        folder = _open_beneath(root, "/dev", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        with os.scandir(folder) as entries:
            modes = {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in entries}
    finally:
        os.close(folder)
    return tuple(sorted(name for name, mode in modes.items() if stat.S_ISCHR(mode) or stat.S_ISBLK(mode)))


def _disk(root: int) -> DiskLimits:
    try:
        folder = _open_beneath(root, WORKSPACE_DIR)
    except OSError:
        return DiskLimits(None, None)
    try:
        return disk_limits(folder)
    finally:
        os.close(folder)


def _namespaces(process: Path) -> dict[str, int]:
    found = {}
    for name in (*NAMESPACES, "cgroup", "user"):
        with contextlib.suppress(OSError):
            found[name] = (process / "ns" / name).stat().st_ino
    return found


def _lines(process: Path, name: str) -> list[str]:
    """Lines of a file of the network namespace; without IPv6 its files are not there."""
    try:
        return (process / "net" / name).read_text().splitlines()
    except FileNotFoundError:
        if not name.endswith("6") and not name.startswith("ipv6"):
            raise
        return []


def _net_devices(process: Path) -> tuple[str, ...] | None:
    try:
        return tuple(line.partition(":")[0].strip() for line in _lines(process, "dev")[2:])
    except OSError:
        return None


def _net_routes(process: Path) -> int | None:
    """Routes that lead anywhere but to the loopback; in both tables the device stands in a column of its own."""
    try:
        devices = [line.split()[0] for line in _lines(process, "route")[1:]]
        devices += [line.split()[-1] for line in _lines(process, "ipv6_route")]
    except OSError:
        return None
    return sum(device != "lo" for device in devices)


def _foreign_listeners(process: Path, spec: SandboxSpec, agent: int | None) -> tuple[str, ...] | None:
    """Who listens in the sandbox's network namespace and is neither a door nor, once it runs, the agent itself.

    The agent can't listen below the sandbox's first unprivileged port, and what has another owner is not the agent.
    """
    doors = {("127.0.0.1", port) for port in spec.doors.ports().values()}
    foreign = []
    try:
        for family, table in _tcp_tables(process):
            for fields in (line.split() for line in _lines(process, table)[1:]):
                address, port = _address(family, fields[1]), int(fields[1].rpartition(":")[2], 16)
                agents = int(fields[7]) == agent and port >= UNPRIVILEGED_PORT_START
                if fields[3] == _LISTEN and (address, port) not in doors and not agents:
                    foreign.append(f"{table} {address}:{port}")
        for fields in (line.split() for line in _lines(process, "unix")[1:]):
            abstract = len(fields) > 7 and fields[7].startswith("@")
            if agent is None and abstract and int(fields[3], 16) & _UNIX_LISTENING:
                foreign.append(f"unix {fields[7]}")
    except OSError:
        return None
    return tuple(foreign)


def _tcp_tables(process: Path) -> list[tuple[socket.AddressFamily, str]]:
    """The tables that hold a socket, by the namespace's own count: to read one, the kernel walks the whole host's."""
    counts = [line.split() for name in ("sockstat", "sockstat6") for line in _lines(process, name)]
    used = {fields[0] for fields in counts if fields[1] == "inuse" and fields[2] != "0"}
    return [(family, name.lower()) for family, name in _TCP if f"{name}:" in used]


def _address(family: socket.AddressFamily, text: str) -> str:
    """The kernel writes an address as words of 32 bits in the host's byte order."""
    raw = bytes.fromhex(text.rpartition(":")[0])
    return socket.inet_ntop(family, b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)))
