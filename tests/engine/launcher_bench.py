"""A launcher of its own for one test: home, socket, process, and a connected client."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from eleagent.wire.attestation import Report
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.root import Root
from eleagent_daemon.domain.sandbox import BUBBLEWRAP, DOCKER, DataMount, Doors, Limits, Mode, Phase, SandboxSpec
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.store.spoolreader import SpoolReader

PROGRAM = "import sys; from eleagent_daemon.launcher.main import main; sys.exit(main())"
BASE_IMAGE = "debian:bookworm-slim"
DOCKER_ALONE = pytest.param(DOCKER, marks=pytest.mark.engine)
RUNTIMES = (DOCKER_ALONE, pytest.param(BUBBLEWRAP, marks=pytest.mark.bubblewrap))


@dataclass
class Bench:
    home: Path
    docker_socket: str
    runtime: str
    client: LauncherClient
    process: subprocess.Popen[bytes] | None = None
    sessions: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.home / "run" / "launcher.sock"

    @cached_property
    def image(self) -> str:
        """The base image's content digest, or what stands for one where there is no engine."""
        if self.runtime == BUBBLEWRAP:
            return Root(agent="command").digest
        asked = ["docker", "-H", f"unix://{self.docker_socket}", "image", "inspect", "-f", "{{.Id}}", BASE_IMAGE]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def installation(self) -> str:
        return f"test-{self.home.name}"

    async def start(self) -> launch.Greeting:
        """Start the launcher (again) and wait until it answers."""
        arguments = ["--home", self.home, "--socket", self.socket, "--installation", self.installation]
        arguments += ["--runtime", self.runtime]
        with (self.home / "launcher.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *map(str, arguments), "--docker-socket", self.docker_socket], stderr=log
            )
        while True:
            greeting = await self.client.ready(10)
            if greeting.pid == self.process.pid:
                return greeting
            await asyncio.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def spec(self, *argv: str, data: Sequence[DataMount] = (), model: int = 0, stdin: bool = False) -> SandboxSpec:
        key = "s-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
        self.sessions.append(key)
        return SandboxSpec(
            session=key,
            installation=self.installation,
            attempt=1,
            image=self.image,
            argv=argv,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            uid=10001 + len(self.sessions),
            stdin=stdin,
            doors=Doors(model=model),
            data=tuple(data),
            limits=Limits(disk_bytes=256 << 20, disk_inodes=4096),
            mode=Mode.BEST_EFFORT,
        )

    async def make(self, spec: SandboxSpec) -> launch.Made:
        return await self.client.ask(launch.Create(spec=spec), launch.Made)

    async def attest(self, session: str) -> Report:
        return (await self.client.ask(launch.Attest(session=session), launch.Attested)).report

    async def open_doors(self, session: str) -> dict[str, int]:
        answer, fds = await self.client.call(launch.OpenDoors(session=session))
        assert isinstance(answer, launch.DoorSet)
        return dict(zip(answer.names, fds, strict=True))

    async def release(self, session: str) -> None:
        await self.client.ask(launch.Release(session=session), launch.Done)

    async def run(self, spec: SandboxSpec) -> launch.Made:
        """From nothing to an opened gate."""
        made = await self.make(spec)
        await self.attest(spec.session)
        for fd in (await self.open_doors(spec.session)).values():
            os.close(fd)
        await self.release(spec.session)
        return made

    async def inspect(self, session: str) -> launch.Inspected:
        return await self.client.ask(launch.Inspect(session=session), launch.Inspected)

    async def ended(self, session: str) -> launch.Inspected:
        while True:
            inspected = await self.inspect(session)
            if inspected.status.phase is not Phase.RUNNING:
                return inspected
            await asyncio.sleep(0.02)

    async def remove(self, session: str, *, forget: bool = True) -> None:
        await self.client.ask(launch.Remove(session=session, forget=forget), launch.Done)

    def left(self) -> dict[str, list[str]]:
        """What is there of this bench's sessions: containers, mounts, loop devices, files."""
        containers = self._groups() if self.runtime == BUBBLEWRAP else self._containers()
        mounts = [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if f"{self.home}/launcher/mnt/" in line
        ]
        loops = [
            str(path)
            for path in Path("/sys/block").glob("loop*/loop/backing_file")
            if str(self.home) in path.read_text(errors="replace")
        ]
        names = [str(path) for path in (self.home / "launcher").rglob("*s-*")]
        return {"containers": containers, "mounts": mounts, "loops": loops, "files": names}

    def _containers(self) -> list[str]:
        asked = ["docker", "-H", f"unix://{self.docker_socket}", "ps", "-aq", "--filter"]
        label = f"label=io.eleagent.installation={self.installation}"
        return subprocess.run([*asked, label], capture_output=True, text=True, check=True).stdout.split()

    def _groups(self) -> list[str]:
        """Control groups, and holders by their words."""
        groups = [str(path) for key in self.sessions for path in Path("/sys/fs/cgroup").glob(f"*/eleagent/*{key}*")]
        words = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        return groups + [line.decode() for line in words if b"holder.py" in line and str(self.home).encode() in line]


def output(made: launch.Made, stream: int = 1) -> bytes:
    """All of a stream that is in the spool."""
    reader, data = SpoolReader(folder=Path(made.spool), offset=0), bytearray()
    while frames := reader.read():
        for frame in frames:
            if frame.stream == stream:
                assert frame.at == len(data)
                data += frame.payload
    return bytes(data)


@asynccontextmanager
async def launcher_bench(home: Path, docker_socket: str, runtime: str = DOCKER) -> AsyncIterator[Bench]:
    (home / "run").mkdir()
    client = LauncherClient(socket_path=home / "run" / "launcher.sock", version="0.1.0")
    bench = Bench(home, docker_socket, runtime, client)
    running = asyncio.create_task(client.run())
    try:
        await bench.start()
        yield bench
    finally:
        assert bench.process is not None
        try:
            if bench.process.poll() is not None:
                await bench.start()
            for session in bench.sessions:
                await bench.remove(session)
            bench.process.send_signal(signal.SIGTERM)
            assert bench.process.wait(10) == 0
            assert str(home) not in Path("/proc/self/mountinfo").read_text()
        finally:
            bench.kill()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
