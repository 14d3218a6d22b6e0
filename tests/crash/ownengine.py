"""How does a test get an engine that it may kill? A dockerd with folders and a network namespace of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BASE_IMAGE = "debian:bookworm-slim"


@dataclass
class Engine:
    """It has the machine's mounts: sandboxes bind folders that the launcher prepares there."""

    folder: Path
    live_restore: bool = False
    process: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None
    kills: int = 0

    @property
    def socket(self) -> str:
        return str(self.folder / "docker.sock")

    def start(self) -> None:
        """As a distribution runs it: what holds the containers is a process of its own, which outlives the engine."""
        below = {name: str(self.folder / name) for name in ("containerd.sock", "root", "state", "data", "exec", "pid")}
        if self.containerd is None:
            self.containerd = self._spawn(
                "containerd", "--address", below["containerd.sock"], "--root", below["root"], "--state", below["state"]
            )
        self.process = self._spawn(
            "dockerd", "--host", f"unix://{self.socket}", "--containerd", below["containerd.sock"],
            "--data-root", below["data"], "--exec-root", below["exec"], "--pidfile", below["pid"],
            "--bridge=none", "--iptables=false", *(["--live-restore"] if self.live_restore else []),
        )  # fmt: skip
        until = time.monotonic() + 60
        while self.docker("version").returncode != 0:
            assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(["unshare", "--net", *command], stdout=log, stderr=log, start_new_session=True)

    def docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "-H", f"unix://{self.socket}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def kill(self) -> None:
        """SIGKILL to the engine alone: its shims and containers go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)
        (self.folder / "pid").unlink(missing_ok=True)
        self.kills += 1

    def restart(self, *, live_restore: bool) -> None:
        """In order, with nothing running."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)
        self.live_restore = live_restore
        self.start()

    def end(self) -> None:
        """With all that it holds, also where a test left it dead."""
        if self.process is not None and self.process.poll() is not None:
            self.start()
        for one in self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", one)
        for process in (self.process, self.containerd):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(30)


@contextmanager
def own_engine(docker_socket: str, folder: Path) -> Iterator[Engine]:
    """With the base image of the machine's engine."""
    engine = Engine(folder=folder)
    try:
        engine.start()
        saving = ["docker", "-H", f"unix://{docker_socket}", "save", BASE_IMAGE]
        loading = ["docker", "-H", f"unix://{engine.socket}", "load", "-q"]
        with subprocess.Popen(saving, stdout=subprocess.PIPE) as saved:
            subprocess.run(loading, stdin=saved.stdout, capture_output=True, check=True)
        assert saved.returncode == 0
        yield engine
    finally:
        engine.end()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (mount := line.split()[1]).startswith(str(folder)):
                subprocess.run(["umount", "-l", mount], check=False)
