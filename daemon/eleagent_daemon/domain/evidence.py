"""What did kernel and engine say about one sandbox? Plain facts, to be judged by `domain.attestation`."""

from __future__ import annotations

import msgspec


class Process(msgspec.Struct, frozen=True):
    """From /proc/PID/status; `uids` and `gids` are real, effective, saved, fs. Capability sets are the hex words."""

    pid: int
    name: str
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    cap_inheritable: str
    cap_permitted: str
    cap_effective: str
    cap_bounding: str
    cap_ambient: str
    no_new_privs: bool
    seccomp_mode: int
    seccomp_filters: int


class MountPoint(msgspec.Struct, frozen=True):
    """From /proc/PID/mountinfo, with device and inode of what is mounted as stat through /proc/PID/root saw it."""

    target: str
    fstype: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]
    device: int
    inode: int
    shared: bool = False


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Namespace inodes of the sandbox's init and of the host; None where a fact could not be read.

    `seccomp` has the different sets of filters that its processes carry, each filter's instructions as the kernel
    handed them out; None when not to be read. `exposed` are paths to be masked or read-only that are there without a
    mount of their own; `devices` the nodes in /dev. `memory_tcp_bytes` is memory and the buffers of TCP together,
    however the kernel counts them.
    """

    sandbox_id: str
    started_at: str
    pid: int
    pid_start_ticks: int
    processes: tuple[Process, ...]
    mounts: tuple[MountPoint, ...]
    namespaces: dict[str, int]
    host_namespaces: dict[str, int]
    net_devices: tuple[str, ...] | None
    net_routes: int | None
    port_start: int | None = None
    foreign_listeners: tuple[str, ...] | None
    exposed: tuple[str, ...] | None
    devices: tuple[str, ...] | None
    seccomp: tuple[tuple[bytes, ...], ...] | None
    memory_bytes: int | None
    memory_swap_bytes: int | None
    memory_tcp_bytes: int | None
    cpus: float | None
    pids: int | None
    nofile: int | None
    core_bytes: int | None
    disk_bytes: int | None
    disk_inodes: int | None
    engine: dict[str, str]
