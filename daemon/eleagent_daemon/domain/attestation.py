"""Is a sandbox what was asked for? Judges the evidence of kernel and engine, control by control; no I/O.

What can't be read counts as missing. Reports of one sandbox are comparable word for word: `found` holds nothing that
changes while an agent works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from eleagent.wire.attestation import Binding, Control, ControlClass, Report
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.bpf import FilterError
from eleagent_daemon.domain.confinement import DEVICES, NAMESPACES, SHM_BYTES, TCP_BYTES, TERMINALS
from eleagent_daemon.domain.evidence import Evidence, MountPoint, Process
from eleagent_daemon.domain.mounts import expected, flaws, unexpected
from eleagent_daemon.domain.sandbox import BUBBLEWRAP, UNPRIVILEGED_PORT_START, Mode, Person, Placement, SandboxSpec

_STATUS: Final = "/proc/PID/status"
_MOUNTS: Final = "/proc/PID/mountinfo"
_SHOWN_ITEMS: Final = 4
_ROUNDING: Final = 1.1
"""A file system rounds its size and inodes up to whole block groups."""


def evaluate(spec: SandboxSpec, evidence: Evidence, placement: Placement, *, runtime: str) -> Report:
    """The report on one sandbox, at its gate or while the agent runs: every process in it is judged."""
    bare = runtime == BUBBLEWRAP
    controls = [*_confinement(spec, evidence, placement, bare=bare), *_resources(spec, evidence, placement)]
    failed = [control for control in controls if not control.ok]
    return Report(
        runtime=runtime,
        controls=controls,
        binding=Binding(
            sandbox_id=evidence.sandbox_id,
            started_at=evidence.started_at,
            pid=evidence.pid,
            pid_start_ticks=evidence.pid_start_ticks,
            netns_inode=evidence.namespaces.get("net", 0),
        ),
        complete=all(control.cls is not ControlClass.CONFINEMENT for control in failed),
        missing_resources=[control.name for control in failed if control.cls is ControlClass.RESOURCES],
    )


def refusal(report: Report, mode: Mode) -> str:
    """Why the gate must stay closed, empty when it may open: the one rule on classes and modes."""
    blocking = [
        control for control in report.failures if control.cls is ControlClass.CONFINEMENT or mode is Mode.STRICT
    ]
    return "; ".join(f"{control.name}: asked {control.asked}, found {control.found}" for control in blocking)


def differences(first: Report, second: Report) -> list[str]:
    """What a repeated attestation found otherwise, one line each; empty when the sandbox is still the one attested."""
    changed = [
        f"{name}: was {before}, is {after}"
        for name in Binding.__struct_fields__
        if (before := getattr(first.binding, name)) != (after := getattr(second.binding, name))
    ]
    found = {control.name: control for control in second.controls}
    for before in first.controls:
        after = found.pop(before.name, None)
        if after is None:
            changed.append(f"{before.name}: not attested any more")
        elif (before.ok, before.found) != (after.ok, after.found):
            changed.append(f"{before.name}: was {before.found}, is {after.found}")
    return changed + [f"{name}: was not attested before" for name in found]


def _confinement(spec: SandboxSpec, evidence: Evidence, placement: Placement, *, bare: bool) -> Iterable[Control]:
    """`bare`: no engine made it. Then it must have a user namespace of its own, and its root is made of the host's."""

    def control(name: str, asked: str, found: str, source: str, ok: bool) -> Control:
        return Control(name, ControlClass.CONFINEMENT, asked, found, source, ok)

    def processes(name: str, asked: str, wrong: Callable[[Process], str]) -> Control:
        faults = sorted({fault for process in evidence.processes if (fault := wrong(process))})
        found = _some(faults) or (asked if evidence.processes else "no process")
        return control(name, asked, found, _STATUS, found == asked)

    def none_but(name: str, asked: str, strange: Iterable[str] | None, source: str) -> Control:
        found = "unreadable" if strange is None else _some(strange) or asked
        return control(name, asked, found, source, found == asked)

    user = placement.person or Person(spec.uid, spec.uid)
    groups = {user.gid, *user.groups}
    yield processes(
        "user", f"{user.uid}", lambda p: "" if set(p.uids) == {user.uid} else f"{_list(p.uids)} ({_name(p)})"
    )
    yield processes(
        "groups",
        _list(sorted(groups)),
        lambda p: (
            "" if set(p.gids) == {user.gid} and groups >= set(p.groups) else f"{_list(p.gids + p.groups)} ({_name(p)})"
        ),
    )
    yield processes("capabilities", "none", _capabilities)
    yield processes("no_new_privs", "set", lambda p: "" if p.no_new_privs else f"not set ({_name(p)})")
    yield _seccomp(evidence)

    mounts = {mount.target: mount for mount in evidence.mounts}  # of two on one target the later covers the other
    root = mounts.get("/")
    yield control("root", "read-only", _writability(root), _MOUNTS, _writability(root) == "read-only")
    wanted = expected(spec, placement)
    yield none_but("mount flags", "as asked", flaws(wanted, mounts), _MOUNTS)
    yield none_but("other mounts", "none", unexpected(wanted, evidence.mounts, shows_host=bare), _MOUNTS)
    yield none_but(
        "data",
        "what was opened",
        [f"{data.target} is something else" for data in spec.data if not _same(mounts, placement, data.target)],
        "stat",
    )
    yield none_but("kernel paths", "masked", evidence.exposed, _MOUNTS)
    yield none_but(
        "devices",
        "standard nodes",
        None if evidence.devices is None else [name for name in evidence.devices if name not in DEVICES],
        "/dev",
    )
    yield none_but(
        "namespaces", "own", _common_namespaces(evidence, (*NAMESPACES, "user") if bare else NAMESPACES), "/proc/PID/ns"
    )

    network = _network(evidence)
    yield control("network", "loopback alone", network, "/proc/PID/net", network == "loopback alone")
    yield none_but("listeners", "doors alone", evidence.foreign_listeners, "/proc/PID/net")
    start = "unreadable" if evidence.port_start is None else f"from {evidence.port_start}"
    asked = f"from {UNPRIVILEGED_PORT_START}"
    yield control("ports", asked, start, "sysctl ip_unprivileged_port_start", start == asked)


def _resources(spec: SandboxSpec, evidence: Evidence, placement: Placement) -> Iterable[Control]:
    limits = spec.limits

    def at_most(
        name: str, asked: float, found: float | None, source: str, unit: Callable[[float], str], slack: float = 1.0
    ) -> Control:
        ok = found is not None and 0 <= found <= asked * slack
        text = "no limit" if found is None else unit(found)
        return Control(name, ControlClass.RESOURCES, f"≤ {unit(asked)}", text, source, ok)

    yield at_most("memory", limits.memory_bytes, evidence.memory_bytes, "cgroup", _size)
    yield at_most("memory and swap", limits.memory_bytes, evidence.memory_swap_bytes, "cgroup", _size)
    yield at_most("memory and TCP", limits.memory_bytes + TCP_BYTES, evidence.memory_tcp_bytes, "cgroup", _size)
    yield at_most("cpu", limits.cpus, evidence.cpus, "cgroup", _count, slack=1.001)
    yield at_most("processes", limits.pids, evidence.pids, "rlimit" if placement.person else "cgroup", _count)
    yield at_most("open files", limits.nofile, evidence.nofile, "/proc/PID/limits", _count)
    yield at_most("core file", 0, evidence.core_bytes, "/proc/PID/limits", _size)
    mounts = {mount.target: mount for mount in evidence.mounts}
    yield at_most("terminals", TERMINALS, _terminals(mounts.get("/dev/pts")), _MOUNTS, _count)
    devices = {mounts[target].device if target in mounts else 0 for target in placement.writable}
    together = len(devices) == 1 and 0 not in devices  # a limit holds for the one file system that was measured
    disk, inodes = (evidence.disk_bytes, evidence.disk_inodes) if together else (None, None)
    yield at_most("disk", limits.disk_bytes, disk, "statvfs", _size, slack=_ROUNDING)
    yield at_most("disk inodes", limits.disk_inodes, inodes, "statvfs", _count, slack=_ROUNDING)
    for target, size in (("/tmp", limits.tmp_bytes), ("/run", limits.run_bytes), ("/dev/shm", SHM_BYTES)):  # noqa: S108
        asked = f"tmpfs ≤ {_size(size)} noexec,nosuid,nodev"
        found, ok = _tmpfs(mounts.get(target), size)
        yield Control(target, ControlClass.RESOURCES, asked, found, _MOUNTS, ok)


def _seccomp(evidence: Evidence) -> Control:
    """Filters are judged by what they mean. Where they can't be read back (the launcher is not root) it must be enough
    that every process is filtered and that the runtime loaded our profile, by digest."""
    profile = seccomp.load()
    asked = f"our profile {profile.sha256[:12]}"
    unfiltered = [_name(p) for p in evidence.processes if p.seccomp_mode != 2 or p.seccomp_filters == 0]
    loaded = f"seccomp=sha256:{profile.sha256}" in evidence.engine.get("security_opt", "")
    if unfiltered or not evidence.processes:
        found, ok = f"no filter ({_some(unfiltered) or 'no process'})", False
    elif (differences := _let_pass(evidence, profile)) is None:
        found, ok = ("loaded by us, not read back" if loaded else "a filter that can't be read back"), loaded
    else:
        found = _some(differences) or asked
        ok = found == asked
    return Control("seccomp", ControlClass.CONFINEMENT, asked, found, "PTRACE_SECCOMP_GET_FILTER", ok)


def _let_pass(evidence: Evidence, profile: seccomp.Profile) -> list[str] | None:
    """System calls that the filters let pass though the profile denies them; None where they can't be read."""
    if evidence.seccomp is None:
        return None
    try:
        return sorted({line for filters in evidence.seccomp for line in seccomp.differences(filters, profile)})
    except FilterError:
        return None


def _capabilities(process: Process) -> str:
    sets = {
        "inheritable": process.cap_inheritable,
        "permitted": process.cap_permitted,
        "effective": process.cap_effective,
        "bounding": process.cap_bounding,
        "ambient": process.cap_ambient,
    }
    held = [f"{name} {words}" for name, words in sets.items() if int(words, 16)]
    return f"{', '.join(held)} ({_name(process)})" if held else ""


def _writability(root: MountPoint | None) -> str:
    if root is None:
        return "no root mount"
    return "read-only" if "ro" in root.options else "writable"


def _same(mounts: Mapping[str, MountPoint], placement: Placement, target: str) -> bool:
    mount, placed = mounts.get(target), placement.data.get(target)
    return mount is not None and (mount.device, mount.inode) == placed != (0, 0)


def _common_namespaces(evidence: Evidence, names: Iterable[str]) -> list[str]:
    """Namespaces that the sandbox shares with the host, or whose inode could not be read on both sides."""
    own, host = evidence.namespaces, evidence.host_namespaces
    return [
        f"{name} is the host's" if own.get(name) else f"{name} unreadable"
        for name in names
        if not own.get(name) or not host.get(name) or own[name] == host[name]
    ]


def _network(evidence: Evidence) -> str:
    if evidence.net_devices is None or evidence.net_routes is None:
        return "unreadable"
    others = [name for name in evidence.net_devices if name != "lo"]
    if "lo" not in evidence.net_devices:
        others.append("no lo")
    if evidence.net_routes:
        others.append(f"{evidence.net_routes} routes")
    return _some(others) or "loopback alone"


def _tmpfs(mount: MountPoint | None, limit: int) -> tuple[str, bool]:
    if mount is None or mount.fstype != "tmpfs":
        return "no tmpfs" if mount is None else mount.fstype, False
    options = dict(option.partition("=")[::2] for option in mount.super_options)
    size = _tmpfs_bytes(options.get("size", ""))
    flags = [flag for flag in ("noexec", "nosuid", "nodev") if flag in mount.options]
    found = f"tmpfs {'of no limit' if size is None else _size(size)} {','.join(flags) or 'without flags'}"
    return found, size is not None and size <= limit and len(flags) == 3


def _terminals(mount: MountPoint | None) -> int | None:
    """`max=` of a devpts; without one it takes what all instances share."""
    options = dict(option.partition("=")[::2] for option in mount.super_options) if mount else {}
    return int(options["max"]) if options.get("max", "").isdigit() else None


def _tmpfs_bytes(text: str) -> int | None:
    """The kernel shows the size in KiB, as `524288k` (tmpfs(5))."""
    return int(text[:-1]) << 10 if text.endswith("k") and text[:-1].isdigit() else None


def _name(process: Process) -> str:
    # A process may call itself anything: its words are cut and shown as a literal.
    return f"pid {process.pid} {process.name[:16]!r}"


def _list(numbers: Iterable[int]) -> str:
    return ",".join(str(number) for number in numbers)


def _some(items: Iterable[str]) -> str:
    shown = list(items)
    more = f" and {len(shown) - _SHOWN_ITEMS} more" if len(shown) > _SHOWN_ITEMS else ""
    return "; ".join(shown[:_SHOWN_ITEMS]) + more


def _size(size: float) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return f"{size:g} B"


def _count(number: float) -> str:
    return f"{number:.10g}"
