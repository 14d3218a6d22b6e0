from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eleagent.wire.attestation import ControlClass
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.attestation import differences, evaluate, refusal
from eleagent_daemon.domain.bpf import INSTRUCTION, RET_ALLOW, RET_ERRNO
from eleagent_daemon.domain.evidence import Evidence, MountPoint, Process
from eleagent_daemon.domain.sandbox import DataMount, Doors, Limits, Mode, Placement, SandboxSpec

ZERO = "0" * 16
ALLOW_ALL, DENY_ALL = (INSTRUCTION.pack(0x06, 0, 0, answer) for answer in (RET_ALLOW, RET_ERRNO))
SPEC = SandboxSpec(
    session="s-aaaaaaaaaa",
    installation="i",
    attempt=1,
    image="sha256:abc",
    argv=("true",),
    env={},
    uid=10001,
    stdin=True,
    doors=Doors(),
    data=(DataMount("t", "/srv/x", "/data/x", 5, 77),),
)
PLACEMENT = Placement(
    {"/workspace": "/m/w", "/artefacts": "/m/a", "/home/agent": "/m/h"},
    {"/data/x": "/m/d", "/opt/agent": "/m/b"},
    {"/data/x": (6, 77)},
)


def _process(pid: int, **changes: Any) -> Process:
    process = Process(pid, "sh", (10001,) * 4, (10001,) * 4, (10001,), ZERO, ZERO, ZERO, ZERO, ZERO, True, 2, 1)
    return msgspec.structs.replace(process, **changes)


def _mount(target: str, fstype: str, options: str, super_options: str = "rw", device: int = 9) -> MountPoint:
    return MountPoint(target, fstype, "none", tuple(options.split(",")), tuple(super_options.split(",")), device, 77)


CLOSED = "rw,nosuid,nodev,noexec"
MOUNTS = {
    mount.target: mount
    for mount in (
        _mount("/", "overlay", "ro,relatime"),
        _mount("/proc", "proc", CLOSED),
        _mount("/dev", "tmpfs", "rw,nosuid", "rw,size=65536k,mode=755"),
        _mount("/dev/pts", "devpts", "rw,nosuid,noexec", "rw,gid=5,max=64"),
        _mount("/dev/mqueue", "mqueue", CLOSED),
        _mount("/dev/shm", "tmpfs", CLOSED, "rw,size=65536k"),
        _mount("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
        _mount("/sys/fs/cgroup", "tmpfs", CLOSED, "rw,mode=755"),
        _mount("/sys/fs/cgroup/pids", "cgroup", "ro,nosuid,nodev,noexec", "rw,pids"),
        _mount("/proc/sys", "proc", "ro,nosuid,nodev,noexec"),
        _mount("/proc/keys", "tmpfs", "rw,nosuid", "rw,mode=755"),
        _mount("/sys/firmware", "tmpfs", "ro"),
        _mount("/etc/hosts", "ext4", "ro"),
        _mount("/usr/sbin/docker-init", "ext4", "ro"),
        _mount("/tmp", "tmpfs", CLOSED, "rw,size=524288k"),
        _mount("/run", "tmpfs", CLOSED, "rw,size=65536k"),
        _mount("/workspace", "ext4", "rw,nosuid,nodev", device=20),
        _mount("/artefacts", "ext4", "rw,nosuid,nodev", device=20),
        _mount("/home/agent", "ext4", "rw,nosuid,nodev", device=20),
        _mount("/data/x", "overlay", "ro", device=6),
        _mount("/data/x/agent.sock", "ext4", "ro"),
        _mount("/opt/agent", "ext4", "ro"),
    )
}
OWN = {"mnt": 11, "pid": 12, "net": 13, "ipc": 14, "uts": 15}
EVIDENCE = Evidence(
    sandbox_id="c",
    started_at="t",
    pid=100,
    pid_start_ticks=5,
    processes=(_process(100), _process(101)),
    mounts=tuple(MOUNTS.values()),
    namespaces=OWN,
    host_namespaces={name: number - 10 for name, number in OWN.items()},
    net_devices=("lo",),
    net_routes=0,
    port_start=1024,
    foreign_listeners=(),
    exposed=(),
    devices=("full", "null", "random", "tty", "urandom", "zero"),
    seccomp=((DENY_ALL,),),
    memory_bytes=2 << 30,
    memory_swap_bytes=2 << 30,
    memory_tcp_bytes=(2 << 30) + (64 << 20),
    cpus=2.0,
    pids=512,
    nofile=4096,
    core_bytes=0,
    disk_bytes=4 << 30,
    disk_inodes=200_192,
    engine={},
)


def _with_mount(target: str, **changes: Any) -> dict[str, Any]:
    return {"mounts": tuple((MOUNTS | {target: msgspec.structs.replace(MOUNTS[target], **changes)}).values())}


def _and_mount(mount: MountPoint) -> dict[str, Any]:
    return {"mounts": (*EVIDENCE.mounts, mount)}


def _without_mount(target: str) -> dict[str, Any]:
    return {"mounts": tuple(mount for mount in EVIDENCE.mounts if mount.target != target)}


def _and_process(**changes: Any) -> dict[str, Any]:
    return {"processes": (*EVIDENCE.processes, _process(102, **changes))}


WEAKENED: list[tuple[str, dict[str, Any]]] = [
    ("user", _and_process(uids=(10001, 0, 10001, 10001))),
    ("user", _and_process(uids=(10002,) * 4)),
    ("groups", _and_process(gids=(0,) * 4)),
    ("groups", _and_process(groups=(10001, 27))),
    *(("capabilities", _and_process(**{f"cap_{name}": "0000000000000400"})) for name in ("inheritable", "permitted")),
    *(("capabilities", _and_process(**{f"cap_{name}": "1"})) for name in ("effective", "bounding", "ambient")),
    ("no_new_privs", _and_process(no_new_privs=False)),
    ("seccomp", _and_process(seccomp_mode=0, seccomp_filters=0)),
    ("seccomp", _and_process(seccomp_mode=1)),
    ("seccomp", {"seccomp": ((ALLOW_ALL,),)}),
    ("seccomp", {"seccomp": ((DENY_ALL,), (ALLOW_ALL,))}),
    ("seccomp", {"seccomp": ((b"torn",),)}),
    ("seccomp", {"seccomp": None}),
    ("seccomp", {"seccomp": None, "engine": {"security_opt": "seccomp=unconfined"}}),
    ("root", _with_mount("/", options=("rw",))),
    ("mount flags", _with_mount("/workspace", options=("rw", "nosuid"))),
    ("mount flags", _with_mount("/artefacts", options=("rw", "nodev"))),
    ("mount flags", _with_mount("/data/x", options=("rw",))),
    ("mount flags", _with_mount("/data/x", shared=True)),
    ("mount flags", _with_mount("/opt/agent", options=("rw", "nosuid", "nodev"))),
    ("mount flags", _without_mount("/opt/agent")),
    ("other mounts", _and_mount(_mount("/opt/etc", "ext4", "ro"))),
    ("other mounts", _and_mount(_mount("/workspace/other", "ext4", "ro"))),
    ("other mounts", _and_mount(_mount("/data/x/more", "ext4", "rw,nosuid,nodev"))),
    ("other mounts", _and_mount(_mount("/run/docker.sock", "tmpfs", "rw"))),
    ("other mounts", _with_mount("/sys", options=("rw", "nosuid", "nodev", "noexec"))),
    ("other mounts", _with_mount("/sys/fs/cgroup/pids", options=("rw",))),
    ("other mounts", _with_mount("/proc/sys", options=("rw",))),
    ("other mounts", _with_mount("/dev", super_options=("rw", "mode=1777"))),
    ("other mounts", _with_mount("/etc/hosts", options=("rw",))),
    ("data", _with_mount("/data/x", inode=78)),
    ("data", _with_mount("/data/x", device=5)),
    ("kernel paths", {"exposed": ("/proc/kcore",)}),
    ("kernel paths", {"exposed": None}),
    ("devices", {"devices": ("null", "sda")}),
    ("devices", {"devices": None}),
    *(("namespaces", {"namespaces": OWN | {name: number - 10}}) for name, number in OWN.items()),
    ("namespaces", {"namespaces": {name: number for name, number in OWN.items() if name != "pid"}}),
    ("namespaces", {"host_namespaces": {}}),
    ("network", {"net_devices": ("lo", "eth0")}),
    ("network", {"net_devices": None}),
    ("network", {"net_routes": 1}),
    ("network", {"net_routes": None}),
    ("listeners", {"foreign_listeners": ("tcp 127.0.0.1:810",)}),
    ("listeners", {"foreign_listeners": None}),
    ("ports", {"port_start": 0}),
    ("ports", {"port_start": None}),
    ("memory", {"memory_bytes": (2 << 30) + 4096}),
    ("memory", {"memory_bytes": None}),
    ("memory and swap", {"memory_swap_bytes": 4 << 30}),
    ("memory and TCP", {"memory_tcp_bytes": 3 << 30}),
    ("memory and TCP", {"memory_tcp_bytes": None}),
    ("terminals", _with_mount("/dev/pts", super_options=("rw", "gid=5"))),
    ("terminals", _with_mount("/dev/pts", super_options=("rw", "max=1048576"))),
    ("cpu", {"cpus": 3.0}),
    ("cpu", {"cpus": None}),
    ("processes", {"pids": 513}),
    ("processes", {"pids": None}),
    ("open files", {"nofile": 1 << 20}),
    ("core file", {"core_bytes": 4096}),
    ("core file", {"core_bytes": None}),
    ("disk", {"disk_bytes": 5 << 30}),
    ("disk inodes", {"disk_inodes": 250_000}),
    ("/tmp", _with_mount("/tmp", options=("rw", "nosuid", "nodev"))),
    ("/tmp", _with_mount("/tmp", super_options=("rw",))),
    ("/run", _with_mount("/run", super_options=("rw", "size=65540k"))),
    ("/run", _without_mount("/run")),
    ("/dev/shm", _with_mount("/dev/shm", super_options=("rw", "size=131072k"))),
]


def test_attestation_of_good_evidence_is_complete_and_bound() -> None:
    report = evaluate(SPEC, EVIDENCE, PLACEMENT, runtime="docker")
    assert report.failures == []
    assert report.complete
    assert (report.binding.sandbox_id, report.binding.pid, report.binding.netns_inode) == ("c", 100, 13)
    assert refusal(report, Mode.STRICT) == ""


@pytest.mark.parametrize(("name", "changes"), WEAKENED)
def test_attestation_turns_exactly_the_weakened_control_red(name: str, changes: dict[str, Any]) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, **changes)
    report = evaluate(SPEC, evidence, PLACEMENT, runtime="docker")
    assert [control.name for control in report.failures] == [name]
    confined = report.failures[0].cls is ControlClass.RESOURCES
    assert report.complete is confined
    assert (refusal(report, Mode.BEST_EFFORT) == "") is confined
    assert name in refusal(report, Mode.STRICT)
    assert [line.split(":")[0] for line in differences(_good(), report) if "netns_inode" not in line] == [name]


def _good() -> Any:
    return evaluate(SPEC, EVIDENCE, PLACEMENT, runtime="docker")


def test_attestation_weakens_every_control_once() -> None:
    assert {name for name, _ in WEAKENED} == {control.name for control in _good().controls}


def test_attestation_without_a_process_is_not_complete() -> None:
    report = evaluate(SPEC, msgspec.structs.replace(EVIDENCE, processes=()), PLACEMENT, runtime="docker")
    assert not report.complete


def test_attestation_judges_the_mount_that_covers_another() -> None:
    evidence = msgspec.structs.replace(EVIDENCE, **_and_mount(_mount("/tmp", "tmpfs", "rw,nosuid,nodev", "rw,size=1k")))
    assert [control.name for control in evaluate(SPEC, evidence, PLACEMENT, runtime="d").failures] == ["/tmp"]


def test_attestation_of_folders_on_different_file_systems_has_no_disk_limit() -> None:
    evidence = msgspec.structs.replace(EVIDENCE, **_with_mount("/artefacts", device=21))
    assert evaluate(SPEC, evidence, PLACEMENT, runtime="d").missing_resources == ["disk", "disk inodes"]


def test_attestation_takes_the_runtimes_word_on_a_filter_only_for_our_profile() -> None:
    engine = {"security_opt": f"no-new-privileges, seccomp=sha256:{seccomp.load().sha256}"}
    evidence = msgspec.structs.replace(EVIDENCE, seccomp=None, engine=engine)
    report = evaluate(SPEC, evidence, PLACEMENT, runtime="d")
    assert report.complete
    assert "not read back" in next(control.found for control in report.controls if control.name == "seccomp")


@pytest.mark.parametrize(
    ("field", "value"),
    [("sandbox_id", "d"), ("started_at", "u"), ("pid", 7), ("pid_start_ticks", 6)],
)
def test_differences_name_another_sandbox(field: str, value: Any) -> None:
    second = evaluate(SPEC, msgspec.structs.replace(EVIDENCE, **{field: value}), PLACEMENT, runtime="docker")
    assert [line.split(":")[0] for line in differences(_good(), second)] == [field]


def test_differences_are_none_when_the_agent_only_works() -> None:
    working = msgspec.structs.replace(EVIDENCE, **_and_process(name="rg", seccomp_filters=3))
    assert differences(_good(), evaluate(SPEC, working, PLACEMENT, runtime="docker")) == []


def test_report_fits_names_into_a_narrow_column() -> None:
    assert max(len(control.name) for control in _good().controls) <= 16


def test_report_shows_limits_of_the_spec() -> None:
    spec = msgspec.structs.replace(SPEC, limits=Limits(memory_bytes=256 << 20))
    asked = {control.name: control.asked for control in evaluate(spec, EVIDENCE, PLACEMENT, runtime="d").controls}
    assert asked["memory"] == "≤ 256 MiB"
