"""Is every flag of the rendered spec a wall, seen by at least one probe?

Each is taken away alone. Where an engine's own default happens to be the same, it is set to what another engine's
default, or an operator's, may be: a flag that we ask for by name must be missed when it is not there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from eleagent_daemon.domain.sandbox import Placement
from eleagent_daemon.runtime.docker_render import render

from .harness import SMALL, Arena, Body, Change, DockerSandboxes, Engine, run_probes
from .lab import Lab

pytestmark = pytest.mark.engine


@dataclass(frozen=True)
class Ablation:
    """`flag` is the key of the rendered body; without it each of `red` must report an escape."""

    flag: str
    change: Change
    red: tuple[str, ...]
    detail: str = ""

    @property
    def id(self) -> str:
        return f"{self.flag}-{self.detail}" if self.detail else self.flag


def _without(*names: str) -> Change:
    def change(body: Body) -> None:
        for name in names:
            body["HostConfig"].pop(name, None)

    return change


def _with(**values: Any) -> Change:
    return lambda body: body["HostConfig"].update(values)


def _top(**values: Any) -> Change:
    return lambda body: body.update(values)


def _security_without(start: str) -> Change:
    def change(body: Body) -> None:
        host = body["HostConfig"]
        host["SecurityOpt"] = [each for each in host["SecurityOpt"] if not each.startswith(start)]

    return change


def _ulimits_without(name: str) -> Change:
    def change(body: Body) -> None:
        host = body["HostConfig"]
        host["Ulimits"] = [each for each in host["Ulimits"] if each["Name"] != name]

    return change


def _tmpfs(target: str, old: str, *new: str) -> Change:
    """An engine adds noexec, nosuid and nodev by itself unless it is told the opposite."""

    def change(body: Body) -> None:
        options = body["HostConfig"]["Tmpfs"][target].split(",")
        body["HostConfig"]["Tmpfs"][target] = ",".join([*(each for each in options if not each.startswith(old)), *new])

    return change


def _mount(target: str, **values: Any) -> Change:
    def change(body: Body) -> None:
        next(each for each in body["HostConfig"]["Mounts"] if each["Target"] == target).update(values)

    return change


def _network(mode: str) -> Change:
    """`NetworkDisabled` says the same a second time: the two go together."""

    def change(body: Body) -> None:
        body["NetworkDisabled"] = False
        body["HostConfig"]["NetworkMode"] = mode
        if mode == "host":
            del body["HostConfig"]["Sysctls"]  # the engine refuses to change the host's own

    return change


_EXTRA_DEVICE = {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/extra", "CgroupPermissions": "r"}

ABLATIONS = (
    Ablation("User", lambda body: body.pop("User"), ("identity", "make-setuid")),
    Ablation("Tty", _top(Tty=True), ("terminal",)),
    Ablation(
        "NetworkMode", _network("bridge"), ("internet-tcp", "internet-udp", "metadata", "interfaces", "routes", "dns")
    ),
    Ablation("NetworkMode", _network("host"), ("host-loopback", "internet-tcp", "interfaces"), "host"),
    Ablation("Init", _without("Init"), ("orphans-are-reaped",)),
    Ablation("Privileged", _with(Privileged=True), ("device-nodes",)),
    Ablation("CapAdd", _with(CapAdd=["NET_BIND_SERVICE"]), ("capabilities",)),
    Ablation("CapDrop", _without("CapDrop"), ("capabilities",)),
    Ablation("SecurityOpt", _security_without("no-new"), ("no-new-privileges", "setuid-binaries"), "no-new-privileges"),
    Ablation("SecurityOpt", _security_without("seccomp"), ("io-uring-setup", "vsock", "ptrace-me"), "seccomp"),
    Ablation("ReadonlyRootfs", _without("ReadonlyRootfs"), ("write-system", "write-anywhere", "mount-flags")),
    Ablation("IpcMode", _with(IpcMode="host"), ("system-v-ipc",)),
    Ablation("CgroupnsMode", _with(CgroupnsMode="host"), ("cgroup-path",)),
    Ablation("PidMode", _with(PidMode="host"), ("processes", "kernel-threads")),
    Ablation("UTSMode", _with(UTSMode="host"), ("host-name",)),
    Ablation("Devices", _with(Devices=[_EXTRA_DEVICE]), ("device-nodes",)),
    Ablation("MaskedPaths", _with(MaskedPaths=[]), ("proc-masked",)),
    Ablation("ReadonlyPaths", _with(ReadonlyPaths=[]), ("proc-read-only",)),
    Ablation("Sysctls", _without("Sysctls"), ("take-doors", "take-low-ports", "take-doors-by-connecting")),
    Ablation("Memory", _without("Memory", "MemorySwap"), ("memory-bomb", "memory-by-files")),
    Ablation("MemorySwap", _without("MemorySwap"), ("swap-limit",)),
    Ablation("NanoCpus", _without("NanoCpus"), ("cpu-share",)),
    Ablation("PidsLimit", _without("PidsLimit"), ("fork-bomb",)),
    Ablation("OomScoreAdj", _without("OomScoreAdj"), ("oom-score",)),
    Ablation("Ulimits", _ulimits_without("nofile"), ("open-files",), "nofile"),
    Ablation("Ulimits", _ulimits_without("core"), ("core-files",), "core"),
    Ablation("ShmSize", _with(ShmSize=256 << 20), ("fill-shm",)),
    *(
        ablation
        for target in ("/tmp", "/run")
        for ablation in (
            Ablation(
                "Tmpfs", _tmpfs(target, "noexec", "exec"), ("run-from-temporary", "mount-flags"), f"{target}-noexec"
            ),
            Ablation("Tmpfs", _tmpfs(target, "nosuid", "suid"), ("mount-flags",), f"{target}-nosuid"),
            Ablation("Tmpfs", _tmpfs(target, "nodev", "dev"), ("mount-flags",), f"{target}-nodev"),
            Ablation("Tmpfs", _tmpfs(target, "size="), (f"fill-{target[1:]}",), f"{target}-size"),
        )
    ),
    Ablation(
        "Mounts", _mount("/data", ReadOnly=False), ("write-data", "change-data", "mount-flags"), "/data-read-only"
    ),
    Ablation("Mounts", _mount("/data", BindOptions={"Propagation": "rslave"}), ("mount-propagation",), "propagation"),
)

NOT_WALLS = {
    "Image": "what runs inside, by digest",
    "Entrypoint": "what runs inside",
    "Cmd": "the gate, which has tests of its own",
    "Env": "what the agent is told",
    "WorkingDir": "where it begins",
    "Labels": "whose it is, for the launcher",
    "Healthcheck": "none: an image's own would be a process that nobody asked for",
    "StopSignal": "how it is asked to end",
    "OpenStdin": "pipes",
    "StdinOnce": "pipes",
    "AttachStdin": "pipes",
    "AttachStdout": "pipes",
    "AttachStderr": "pipes",
    "NetworkDisabled": "taken away together with NetworkMode",
    "AutoRemove": "life after the end",
    "RestartPolicy": "life after the end",
    "LogConfig": "the host's disk: the launcher's tests fill it",
}


def test_every_rendered_flag_is_ablated_or_no_wall(escape_engine: Engine) -> None:
    spec = DockerSandboxes(escape_engine).spec(["true"], Arena())
    body = render(spec, Placement(writable={}, readonly={}))
    rendered = {*body, *body.pop("HostConfig")} - {"HostConfig"}
    assert rendered - NOT_WALLS.keys() == {each.flag for each in ABLATIONS}


def test_ablated_seccomp_profile_is_ours_only(escape_engine: Engine) -> None:
    spec = DockerSandboxes(escape_engine).spec(["true"], Arena(limits=SMALL))
    options = render(spec, Placement(writable={}, readonly={}))["HostConfig"]["SecurityOpt"]
    assert [each.partition("=")[0] for each in options] == ["no-new-privileges", "seccomp"]


@pytest.fixture
def host_segment() -> Iterator[None]:
    """A System V segment of the host's."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, 4096, 0o1600)
    assert segment >= 0
    yield
    libc.shmctl(segment, 0, None)


@pytest.mark.usefixtures("host_segment")
@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda each: each.id)
def test_flag_taken_away_turns_probes_red(ablation: Ablation, escape_engine: Engine, arena: Arena) -> None:
    sandboxes = DockerSandboxes(escape_engine, change=ablation.change)
    answers = run_probes(sandboxes, arena, only=ablation.red)
    assert [str(each) for each in answers.values() if each.contained] == []
    assert set(answers) == set(ablation.red)


def test_disk_without_limit_turns_probes_red(escape_engine: Engine, arena: Arena) -> None:
    red = ["fill-disk", "fill-disk-at-once", "inode-bomb", "mount-flags"]
    answers = run_probes(DockerSandboxes(escape_engine, limited_disk=False), arena, only=red)
    assert [str(each) for each in answers.values() if each.contained] == []


def test_lab_sees_a_sandbox_that_has_a_network(escape_engine: Engine, arena: Arena, escape_lab: Lab) -> None:
    before = escape_lab.seen()
    run_probes(DockerSandboxes(escape_engine, change=_network("bridge")), arena, only=["internet-tcp", "metadata"])
    after = escape_lab.seen()
    assert {host for host in after if after[host] > before[host] and ":" not in host} == {
        *(each for each in arena.facts["lab_hosts"] if ":" not in each),
        arena.facts["lab_metadata"],
    }
