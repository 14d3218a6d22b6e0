"""What can this engine enforce, and what is known against it? The lines of `eleagent doctor` that are about it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import msgspec

from eleagent_daemon.domain.launch import HostFact
from eleagent_daemon.runtime.docker_answers import Info, Version
from eleagent_daemon.runtime.docker_engine import Engine

_RUNC_FIXED = ((1, 2, 8), (1, 3, 3), (1, 4, 0))
_RUNC_CVES = ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881")
"""Escapes through masked paths, /dev/console and security labels; fixed in the versions above (runc's CHANGELOG)."""
_RUNC_CHANGELOG = Path("/usr/share/doc/runc/changelog.Debian.gz")
_ENGINE_FIXED = (25, 0, 5)
"""CVE-2024-29018 (names leak out of internal networks): a sandbox has network `none` and is not reached by it."""
_PODMAN_REFUSES = (4, 3, 1)
"""The one that was tried (see docker.py); older ones are taken to be like it."""


async def engine_facts(engine: Engine) -> list[HostFact]:
    async with engine.asked("say what it can do") as docker:
        version = msgspec.convert(await docker.version(), Version)
        info = msgspec.convert(await docker.system.info(), Info)
    return judge(version, info, _cves_in_changelog())


def judge(version: Version, info: Info, named: frozenset[str]) -> list[HostFact]:
    """`named`: the CVEs that the installed runc's changelog names. Pure."""
    return [
        _podman(version) if version.is_podman else _engine(version),
        _runc(version.runc, named),
        *_limits(info),
        _seccomp(info),
        _apparmor(info),
        _users(info),
        _storage(info),
        *([] if version.is_podman else [_live_restore(info)]),
    ]


def _podman(version: Version) -> HostFact:
    found = f"Podman {version.version} (API {version.api_version})"
    fix = "install Docker Engine (apt-get install docker.io) or set runtime to bubblewrap"
    if _numbers(version.version) <= _PODMAN_REFUSES:
        lack = (
            "it takes neither the seccomp profile nor the bounds of /tmp and /run, so sessions end as isolation_failed"
        )
        return HostFact("engine", "fail", f"{found}: {lack}", fix)
    return HostFact("engine", "warn", f"{found}: no Podman was seen to serve yet, 4.3.1 does not", fix)


def _engine(version: Version) -> HostFact:
    found = f"{version.version} (API {version.api_version})"
    if _numbers(version.version) >= _ENGINE_FIXED:
        return HostFact("engine", "ok", found)
    return HostFact("engine", "ok", f"{found}; CVE-2024-29018 does not reach sandboxes, which have no network")


def _runc(version: str, named: frozenset[str]) -> HostFact:
    if not version:
        return HostFact("runc", "warn", "the engine names none", "see that its OCI runtime is up to date")
    numbers = _numbers(version)
    # Of each line the fix is known; an older line has none, and 1.4.0-rc.1 and -rc.2 come before theirs.
    fixed = any(numbers[:2] == line[:2] and numbers >= line for line in _RUNC_FIXED) or numbers > _RUNC_FIXED[-1]
    if fixed and not re.search(r"1\.4\.0-rc\.?[12]\b", version):
        return HostFact("runc", "ok", version)
    missing = [cve for cve in _RUNC_CVES if cve not in named]
    if not missing:
        return HostFact("runc", "ok", f"{version}; the distribution's changelog names the fixes")
    fix = "install runc 1.2.8, 1.3.3, 1.4.0 or newer, or the distribution's security update"
    return HostFact("runc", "warn", f"{version}; no fix known for {', '.join(missing)}", fix)


def _limits(info: Info) -> list[HostFact]:
    limits = {
        "memory": (info.memory_limit, "boot with cgroup_enable=memory"),
        "swap": (info.swap_limit, "boot with swapaccount=1"),
        "cpu": (info.cpu_cfs_quota, "use a kernel with CONFIG_CFS_BANDWIDTH"),
        "pids": (info.pids_limit, "use a kernel with CONFIG_CGROUP_PIDS"),
    }
    missing = [name for name, (there, _) in limits.items() if not there]
    found = f"version {info.cgroup_version}, driver {info.cgroup_driver}"
    lines = [HostFact("cgroup", "ok" if not missing else "warn", f"{found}, {_list('no limits on ', missing)}")]
    lines += [HostFact(f"limit {name}", "warn", "not supported", limits[name][1]) for name in missing]
    return lines


def _list(before: str, names: list[str]) -> str:
    return before + ", ".join(names) if names else "limits on memory, swap, cpu, pids"


def _seccomp(info: Info) -> HostFact:
    if info.has_security("seccomp"):
        return HostFact("seccomp", "ok", "supported by the engine")
    return HostFact("seccomp", "fail", "not supported", "use a kernel with CONFIG_SECCOMP_FILTER and a current engine")


def _apparmor(info: Info) -> HostFact:
    if info.has_security("apparmor") or info.has_security("selinux"):
        return HostFact("lsm", "ok", "AppArmor" if info.has_security("apparmor") else "SELinux")
    return HostFact(
        "lsm", "warn", "neither AppArmor nor SELinux", "boot with AppArmor for a second wall behind seccomp"
    )


def _users(info: Info) -> HostFact:
    if info.has_security("rootless"):
        return HostFact("users", "ok", "rootless engine")
    if info.has_security("userns"):
        fix = "remove userns-remap from /etc/docker/daemon.json: a sandbox's user must be the one its folders belong to"
        return HostFact("users", "fail", "users are remapped", fix)
    return HostFact("users", "ok", "engine runs as root; each sandbox has a user of its own")


def _storage(info: Info) -> HostFact:
    if info.driver in ("overlay2", "overlayfs", "overlay", "btrfs", "zfs"):
        return HostFact("storage", "ok", info.driver)
    return HostFact("storage", "warn", info.driver or "unknown", "use overlay2: others copy the image for each sandbox")


def _live_restore(info: Info) -> HostFact:
    if info.live_restore_enabled:
        return HostFact("live-restore", "ok", "on")
    fix = 'set "live-restore": true in /etc/docker/daemon.json and run systemctl reload docker'
    return HostFact("live-restore", "warn", "off: sessions end when the engine is restarted", fix)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _cves_in_changelog() -> frozenset[str]:
    """What the distribution says it fixed in the runc that is installed; nothing where there is no such file."""
    try:
        text = gzip.decompress(_RUNC_CHANGELOG.read_bytes()).decode(errors="replace")
    except OSError:
        return frozenset()
    return frozenset(re.findall(r"CVE-\d+-\d+", text))
