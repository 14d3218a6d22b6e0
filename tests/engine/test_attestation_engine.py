"""Does a real engine apply what is rendered, and does attestation name each control that is taken away?"""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.wire.attestation import Report
from eleagent_daemon.domain.attestation import differences, evaluate, refusal
from eleagent_daemon.domain.evidence import Evidence
from eleagent_daemon.domain.sandbox import DataMount, Doors, Limits, Mode, Placement, SandboxSpec
from eleagent_daemon.launcher.evidence import collect
from eleagent_daemon.launcher.limits import limit_tcp
from eleagent_daemon.launcher.mounts import mount_terminals
from eleagent_daemon.launcher.seccomp_read import read_filters
from eleagent_daemon.runtime.cgroup import processes
from eleagent_daemon.runtime.docker_render import render

pytestmark = [pytest.mark.engine, pytest.mark.timeout(60)]

SOCKET = os.environ.get("ELEAGENT_DOCKER_SOCKET", "/var/run/docker.sock")
UID = 10001 + 4000
AGENT = ("/bin/sh", "-c", "echo released; exec sleep 60")


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = _Connection("engine", timeout=30)
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    assert answer.status < 300, (answer.status, data)
    return json.loads(data) if data else {}


class Attached:
    """The stdin of a container, as the launcher holds it."""

    def __init__(self, container: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(SOCKET)
        self._sock.sendall(
            f"POST /containers/{container}/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: engine\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert b"101" in self._sock.recv(4096)

    def write(self, data: bytes) -> None:
        self._sock.sendall(data)

    def end(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB with the session's three folders, mounted as the launcher mounts it."""
    image, folder = tmp_path / "disk.ext4", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "4096", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop,nosuid,nodev", image, folder], check=True)
    try:
        for name in ("workspace", "artefacts", "home"):
            (folder / name).mkdir()
            os.chown(folder / name, UID, UID)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "pts"
    folder.mkdir()
    mount_terminals(folder)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def placement(disk: Path, terminals: Path, tmp_path: Path) -> Placement:
    data = tmp_path / "reports"
    data.mkdir()
    (data / "report.txt").write_text("passed")
    return Placement(
        writable={
            "/workspace": str(disk / "workspace"),
            "/artefacts": str(disk / "artefacts"),
            "/home/agent": str(disk / "home"),
        },
        readonly={"/data/reports": str(data)},
        data={"/data/reports": (data.stat().st_dev, data.stat().st_ino)},
        terminals=str(terminals),
    )


@pytest.fixture
def spec(placement: Placement) -> SandboxSpec:
    opened = Path(placement.readonly["/data/reports"]).stat()
    return SandboxSpec(
        session="s-" + uuid.uuid4().hex[:10],
        installation="attestation-test",
        attempt=1,
        image="debian:bookworm-slim",
        argv=AGENT,
        env={"HOME": "/home/agent"},
        uid=UID,
        stdin=False,
        doors=Doors(),
        data=(DataMount("t", "/reports", "/data/reports", opened.st_dev, opened.st_ino),),
        limits=Limits(memory_bytes=256 << 20, cpus=1.0, pids=64, disk_bytes=64 << 20, disk_inodes=4096),
    )


@contextlib.contextmanager
def _gated(spec: SandboxSpec, body: dict[str, Any]) -> Iterator[tuple[str, Attached]]:
    made = _ask("POST", f"/containers/create?name={spec.name}", body)["Id"]
    try:
        with contextlib.closing(Attached(made)) as stdin:
            _ask("POST", f"/containers/{made}/start")
            limit_tcp(made, _state(made)["Pid"])
            yield made, stdin
    finally:
        _ask("DELETE", f"/containers/{made}?force=1&v=1")


def _state(container: str) -> dict[str, Any]:
    state: dict[str, Any] = _ask("GET", f"/containers/{container}/json")["State"]
    return state


def _port_start(pid: int) -> int:
    found = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
        check=True,
        capture_output=True,
    )
    return int(found.stdout)


def _evidence(spec: SandboxSpec, container: str, *, released: bool = False) -> Evidence:
    state = _state(container)
    evidence = collect(
        sandbox_id=container,
        started_at=state["StartedAt"],
        pids=processes(state["Pid"]),
        spec=spec,
        engine={},
        released=released,
        owner=spec.uid,
    )
    return msgspec.structs.replace(evidence, port_start=_port_start(state["Pid"]))


def _report(spec: SandboxSpec, placement: Placement, container: str, *, released: bool = False) -> Report:
    return evaluate(spec, _evidence(spec, container, released=released), placement, runtime="docker")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_attestation_of_a_rendered_container_is_complete_at_the_gate_and_after(
    spec: SandboxSpec, placement: Placement
) -> None:
    with _gated(spec, render(spec, placement)) as (container, stdin):
        first = _report(spec, placement, container)
        assert [control for control in first.controls if not control.ok] == []
        assert refusal(first, Mode.STRICT) == ""
        stdin.write(b"go\n")
        init = _state(container)["Pid"]
        _wait_until(lambda: any(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in processes(init)))
        assert differences(first, _report(spec, placement, container, released=True)) == []


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def remove(body: dict[str, Any]) -> None:
        for name in path[:-1]:
            body = body[name]
        del body[path[-1]]

    return remove


def _security_option(text: str) -> Callable[[dict[str, Any]], None]:
    def remove(body: dict[str, Any]) -> None:
        options = body["HostConfig"]["SecurityOpt"]
        options[:] = [option for option in options if not option.startswith(text)]

    return remove


def _network_on(body: dict[str, Any]) -> None:
    del body["NetworkDisabled"]
    body["HostConfig"]["NetworkMode"] = "host"
    del body["HostConfig"]["Sysctls"]


def _exec_from_tmp(body: dict[str, Any]) -> None:
    body["HostConfig"]["Tmpfs"]["/tmp"] = "rw,exec,nosuid,nodev,size=512m"


def _another_mount(body: dict[str, Any]) -> None:
    body["HostConfig"]["Mounts"].append({"Type": "bind", "Source": "/etc", "Target": "/opt/etc", "ReadOnly": True})


def _data_mount(body: dict[str, Any]) -> dict[str, Any]:
    mount: dict[str, Any] = next(each for each in body["HostConfig"]["Mounts"] if each["Target"] == "/data/reports")
    return mount


def _writable_data(body: dict[str, Any]) -> None:
    _data_mount(body)["ReadOnly"] = False


def _another_source(body: dict[str, Any]) -> None:
    _data_mount(body)["Source"] = "/usr/share"


def _engines_terminals(body: dict[str, Any]) -> None:
    body["HostConfig"]["Mounts"] = [each for each in body["HostConfig"]["Mounts"] if each["Target"] != "/dev/pts"]


def _unmasked(body: dict[str, Any]) -> None:
    body["HostConfig"]["MaskedPaths"] = []


def _host_ipc(body: dict[str, Any]) -> None:
    body["HostConfig"]["IpcMode"] = "host"


WEAKENED: dict[str, tuple[Callable[[dict[str, Any]], None], set[str]]] = {
    "rootfs": (_without("HostConfig", "ReadonlyRootfs"), {"root"}),
    "capabilities": (_without("HostConfig", "CapDrop"), {"capabilities"}),
    "no_new_privs": (_security_option("no-new-privileges"), {"no_new_privs"}),
    "seccomp": (_security_option("seccomp="), {"seccomp"}),
    "user": (_without("User"), {"user", "groups"}),
    "network": (_network_on, {"network", "namespaces"}),
    "tmpfs": (_exec_from_tmp, {"/tmp"}),
    "pids": (_without("HostConfig", "PidsLimit"), {"processes"}),
    "memory": (_without("HostConfig", "MemorySwap"), {"memory and swap"}),
    "terminals": (_engines_terminals, {"terminals"}),
    "cpu": (_without("HostConfig", "NanoCpus"), {"cpu"}),
    "nofile and core": (_without("HostConfig", "Ulimits"), {"open files", "core file"}),
    "sysctl": (_without("HostConfig", "Sysctls"), {"ports"}),
    "another mount": (_another_mount, {"other mounts"}),
    "writable data": (_writable_data, {"mount flags"}),
    "another source": (_another_source, {"data"}),
    "unmasked": (_unmasked, {"kernel paths"}),
    "host ipc": (_host_ipc, {"namespaces"}),
}


@pytest.mark.parametrize(("weaken", "named"), WEAKENED.values(), ids=WEAKENED)
def test_attestation_names_a_control_that_the_engine_was_not_asked_for(
    spec: SandboxSpec, placement: Placement, weaken: Callable[[dict[str, Any]], None], named: set[str]
) -> None:
    body = copy.deepcopy(render(spec, placement))
    weaken(body)
    with _gated(spec, body) as (container, _):
        failed = {control.name for control in _report(spec, placement, container).failures}
    assert named <= failed


def test_attestation_of_folders_without_a_limit_of_their_own_names_the_disk_alone(
    spec: SandboxSpec, placement: Placement, tmp_path: Path
) -> None:
    folders = {target: tmp_path / str(at) for at, target in enumerate(placement.writable)}
    for folder in folders.values():
        folder.mkdir()
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,nosuid,nodev", folder], check=True)
    try:
        writable = {target: str(folder) for target, folder in folders.items()}
        unlimited = msgspec.structs.replace(placement, writable=writable)
        with _gated(spec, render(spec, unlimited)) as (container, _):
            report = _report(spec, unlimited, container)
    finally:
        for folder in folders.values():
            subprocess.run(["umount", folder], check=True)
    assert report.missing_resources == ["disk", "disk inodes"]
    assert report.complete
    assert "disk" in refusal(report, Mode.STRICT)
    assert refusal(report, Mode.BEST_EFFORT) == ""


def test_attestation_sees_limits_that_were_loosened_while_the_agent_ran(
    spec: SandboxSpec, placement: Placement
) -> None:
    with _gated(spec, render(spec, placement)) as (container, _):
        first = _report(spec, placement, container)
        _ask("POST", f"/containers/{container}/update", {"PidsLimit": -1})
        assert differences(first, _report(spec, placement, container)) == ["processes: was 64, is no limit"]


def test_reading_filters_leaves_a_gate_closed_until_its_word(spec: SandboxSpec, placement: Placement) -> None:
    with _gated(spec, render(spec, placement)) as (container, stdin):
        gate = processes(_state(container)["Pid"])[-1]
        for _ in range(20):
            read = read_filters(gate)
            assert read.programs, read.reason
        assert Path(f"/proc/{gate}/comm").read_text() == "sh\n"
        stdin.write(b"go\n")
        _wait_until(lambda: Path(f"/proc/{gate}/comm").read_text() == "sleep\n")


def test_reading_filters_leaves_a_gate_that_fails_on_end_of_file(spec: SandboxSpec, placement: Placement) -> None:
    body = render(spec, placement) | {"StdinOnce": True}
    with _gated(spec, body) as (container, stdin):
        assert read_filters(processes(_state(container)["Pid"])[-1]).programs
        stdin.end()
        _wait_until(lambda: not _state(container)["Running"])
        assert _state(container)["ExitCode"] == 125


def test_reading_filters_of_a_process_without_any_finds_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert read_filters(process.pid).programs == ()
        process.send_signal(signal.SIGKILL)


TOOLS = {
    "git": "cd /workspace && git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x",
    "python": "python3 -c 'import asyncio,multiprocessing,socket,subprocess,tempfile,threading,getpass;"
    'socket.socket();socket.socketpair();subprocess.check_call(["id"]);asyncio.run(asyncio.sleep(0));'
    'p=multiprocessing.get_context("fork").Process(target=print);p.start();p.join();assert not p.exitcode\'',
    "ripgrep": "rg passed /data/reports",
    "bash": "bash -c 'mkfifo /workspace/f; (echo a > /workspace/f) & read x < /workspace/f; test $x = a'",
}


@pytest.mark.parametrize("command", TOOLS.values(), ids=TOOLS)
def test_profile_lets_ordinary_tools_work(spec: SandboxSpec, placement: Placement, command: str) -> None:
    spec = msgspec.structs.replace(spec, argv=("/bin/sh", "-ec", command))
    with _gated(spec, render(spec, placement)) as (container, stdin):
        stdin.write(b"go\n")
        _wait_until(lambda: not _state(container)["Running"])
        assert _state(container)["ExitCode"] == 0


def test_profile_refuses_what_an_agent_never_needs(spec: SandboxSpec, placement: Placement) -> None:
    probe = """
import ctypes, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
calls = ((272, 0x10000000), (56, 0x10000011), (425, 1), (321, 0), (101, 0), (165, 0), (250, 0), (135, 0x40000))
for number, first in calls:
    if libc.syscall(number, first, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
        sys.exit(number)
if libc.syscall(435, 0, 0) != -1 or ctypes.get_errno() != 38:
    sys.exit(3)
for family, kind, protocol in ((40, 1, 0), (38, 5, 0), (17, 3, 0), (2, 3, 1), (16, 3, 9), (2, 1, 132)):
    try:
        socket.socket(family, kind, protocol)
    except PermissionError:
        continue
    sys.exit(4)
"""
    spec = msgspec.structs.replace(spec, argv=("python3", "-c", probe))
    with _gated(spec, render(spec, placement)) as (container, stdin):
        stdin.write(b"go\n")
        _wait_until(lambda: not _state(container)["Running"])
        assert _state(container)["ExitCode"] == 0
