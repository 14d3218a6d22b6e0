"""Which mounts may a sandbox have: those asked for, with which flags, and what its runtime adds by itself?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from eleagent_daemon.domain.confinement import DEVICES
from eleagent_daemon.domain.evidence import MountPoint
from eleagent_daemon.domain.root import AGENT_FOLDER, LINKS, SETTINGS, TREE
from eleagent_daemon.domain.sandbox import Placement, SandboxSpec

_WRITABLE_FLAGS: Final = frozenset({"nosuid", "nodev"})
_READONLY_FLAGS: Final = frozenset({"ro"})
"""An engine's read-only remount may drop nosuid and nodev; no_new_privs and no capabilities stand in for them."""

_TMPFS_TARGETS: Final = ("/tmp", "/run")  # noqa: S108 - inside the sandbox

_ENGINE_MOUNTS: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "/proc": ("proc", frozenset({"nosuid", "nodev", "noexec"})),
    "/sys": ("sysfs", frozenset({"ro", "nosuid", "nodev", "noexec"})),
    "/dev/pts": ("devpts", frozenset({"nosuid", "noexec"})),
    "/dev/mqueue": ("mqueue", frozenset({"nosuid", "nodev", "noexec"})),
    "/dev/shm": ("tmpfs", frozenset({"nosuid", "nodev", "noexec"})),  # noqa: S108 - inside the sandbox
}
"""What an engine mounts besides, and the least it must be flagged with."""

_ENGINE_FILES: Final = frozenset(
    {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/run/podman-init", "/dev/init"}
    | {"/sbin/docker-init", "/usr/sbin/docker-init"}
)
_HOST_MOUNTS: Final = {name: _ENGINE_MOUNTS[name] for name in ("/proc", "/dev/pts", "/dev/shm")} | {  # noqa: S108
    "/dev": ("tmpfs", frozenset({"ro", "nosuid"}))
}
_DEV: Final = PurePosixPath("/dev")
_KERNEL_PARENTS: Final = (PurePosixPath("/proc"), PurePosixPath("/sys"))
_CGROUPS: Final = PurePosixPath("/sys/fs/cgroup")


def expected(spec: SandboxSpec, placement: Placement) -> dict[str, frozenset[str]]:
    """Target → flags, for everything that was asked for."""
    wanted = dict.fromkeys(placement.writable, _WRITABLE_FLAGS)
    wanted |= dict.fromkeys(placement.readonly, _READONLY_FLAGS)
    wanted |= dict.fromkeys((data.target for data in spec.data), _READONLY_FLAGS)
    return wanted


def flaws(wanted: Mapping[str, frozenset[str]], mounts: Mapping[str, MountPoint]) -> Iterator[str]:
    """What was asked for and is not there as asked."""
    for target, flags in wanted.items():
        mount = mounts.get(target)
        if mount is None:
            yield f"{target} is not mounted"
        elif missing := flags - set(mount.options):
            yield f"{target} without {','.join(sorted(missing))}"
        elif mount.shared:
            yield f"{target} is shared with other namespaces"


def unexpected(
    wanted: Mapping[str, frozenset[str]], mounts: Iterable[MountPoint], *, shows_host: bool
) -> Iterator[str]:
    """What nobody asked for: anything but the runtime's own mounts, each in the form that lets nothing be written.
    `shows_host`: its root is made of the host's own folders (domain/root.py), and no engine is there to add anything.
    """
    is_own = _is_hosts if shows_host else _is_engines
    if shows_host:
        # One that the stage covered can't be got at: a later one is on its place.
        mounts = {mount.target: mount for mount in mounts}.values()
    data = [PurePosixPath(target) for target, flags in wanted.items() if flags is _READONLY_FLAGS]
    for mount in mounts:
        if mount.target in wanted or mount.target == "/" or is_own(mount):
            continue
        below = any(parent in PurePosixPath(mount.target).parents for parent in data)
        if not (below and "ro" in mount.options):  # a cover over a socket or a device in somebody's data
            yield f"{mount.target} ({mount.fstype}, {','.join(mount.options)})"


def _is_engines(mount: MountPoint) -> bool:
    options, parents = set(mount.options), PurePosixPath(mount.target).parents
    if mount.target in _TMPFS_TARGETS:
        return mount.fstype == "tmpfs"
    if mount.target in _ENGINE_MOUNTS:
        fstype, flags = _ENGINE_MOUNTS[mount.target]
        return mount.fstype == fstype and flags <= options
    if mount.target in _ENGINE_FILES:
        return "ro" in options
    if mount.target == "/dev" or PurePosixPath(mount.target) == _CGROUPS:
        return (mount.fstype == "cgroup2" and "ro" in options) or _is_roots(mount)
    if _CGROUPS in parents:
        return mount.fstype == "cgroup" and "ro" in options
    if any(parent in parents for parent in _KERNEL_PARENTS):
        # A part of /proc made read-only, an empty folder, or the null device over a file.
        return ("ro" in options and mount.fstype in {"proc", "sysfs", "tmpfs"}) or _is_roots(mount)
    return False


def _is_hosts(mount: MountPoint) -> bool:
    options, path = set(mount.options), PurePosixPath(mount.target)
    if mount.target in _TMPFS_TARGETS:
        return mount.fstype == "tmpfs"
    if mount.target in _HOST_MOUNTS:
        fstype, flags = _HOST_MOUNTS[mount.target]
        return mount.fstype == fstype and flags <= options
    if path.parent == _DEV and path.name in DEVICES:
        return "nosuid" in options
    if _KERNEL_PARENTS[0] in path.parents:
        return "ro" in options and mount.fstype in {"proc", "tmpfs"}
    shown = any(path.is_relative_to(top) for top in (TREE, *(f"/{name}" for name in LINKS), AGENT_FOLDER))
    return (shown or mount.target in SETTINGS) and options >= {"ro", "nosuid", "nodev"}


def _is_roots(mount: MountPoint) -> bool:
    """A tmpfs that only root may write to, and nobody in a sandbox is root."""
    return mount.fstype in {"tmpfs", "devtmpfs"} and "mode=755" in mount.super_options and "nosuid" in mount.options
