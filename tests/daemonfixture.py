"""How do tests get a daemon of their own: both processes for real, with a state folder and a socket of their own?"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

CANARY_KEY = "sk-ant-api03-canary-0f9b7c-the-daemon-alone-knows-this"


@dataclass
class Daemon:
    """`env` is what the daemon and the CLI run with; `cli` runs `eleagent` as a person would."""

    home: Path
    env: dict[str, str]
    parent: subprocess.Popen[bytes] | None = None
    extra: list[str] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.home / "run" / "api.sock"

    def start(self, *, timeout: float = 30.0) -> None:
        log = (self.home / "daemon.log").open("ab")
        self.parent = subprocess.Popen(
            [sys.executable, "-P", "-m", "eleagent_daemon.daemonctl", *self.extra],
            env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        until = time.monotonic() + timeout
        while self.cli("status", "--json").returncode != 0:
            assert self.parent.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)
        while self.json("status", "--json")["launcher"] == "not reached":
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    def answers(self, *, timeout: float = 30.0) -> None:
        """Wait until it does, after a death."""
        until = time.monotonic() + timeout
        while self.cli("status").returncode != 0:
            assert time.monotonic() < until, self.log()
            time.sleep(0.1)

    def stop(self) -> None:
        if self.parent is not None:
            self.parent.send_signal(signal.SIGTERM)
            self.parent.wait(30)
            self.parent = None

    def end(self) -> None:
        """Stop, also what a client started that found no daemon, and kill a launcher that stays with sandboxes."""
        self.stop()
        until = time.monotonic() + 60
        while parents := self.parents():
            assert time.monotonic() < until, self.log()
            for pid in parents:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            time.sleep(0.2)
        while launchers := self.pids("eleagent_daemon.launcher.main"):
            assert time.monotonic() < until, self.log()
            for pid in launchers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def log(self) -> str:
        return (self.home / "daemon.log").read_text(errors="replace")

    def pids(self, module: str) -> list[int]:
        """Processes of this daemon that run `module`, without the children that they forked for a step."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                mine = f"ELEAGENT_HOME={self.home}".encode() in (entry / "environ").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if words[1:4] == [b"-P", b"-m", module.encode()] and (mine or str(self.home).encode() in words):
                found[int(entry.name)] = parent
        return [pid for pid, parent in found.items() if parent not in found]

    def parents(self) -> list[int]:
        """The supervisors of this daemon's processes."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(words) > 4 and words[3].endswith(b"supervise.py") and words[4].startswith(bytes(self.home)):
                found.append(int(entry.name))
        return found

    def await_end(self, *, timeout: float = 20.0) -> None:
        """Wait until no process of it is left."""
        until = time.monotonic() + timeout
        while self.parents() or self.pids("eleagent_daemon.main") or self.pids("eleagent_daemon.launcher.main"):
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def kill(self, module: str) -> int:
        """SIGKILL the one process that runs `module`; the parent starts it again. Returns its pid."""
        (pid,) = self.pids(module)
        os.kill(pid, signal.SIGKILL)
        return pid

    def cli(self, *arguments: str, timeout: float = 60.0, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "eleagent.cli.main", *arguments],
            env=self.env, timeout=timeout, capture_output=True, text=True, check=False,
            **({"stdin": subprocess.DEVNULL} | options),
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        done = self.cli(*arguments)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout)

    def events(self, key: str) -> list[dict[str, Any]]:
        """The timeline as it is on disk, without a line that is being written."""
        (key,) = [one["key"] for one in self.json("ps", "-a", "--json")["sessions"] if key in (one["key"], one["name"])]
        lines = (self.home / "artefacts" / "logs" / f"{key}.jsonl").read_bytes().split(b"\n")
        return [msgspec.json.decode(line) for line in lines[:-1]]

    def wait_for(self, key: str, *types: str, timeout: float = 60.0) -> list[dict[str, Any]]:
        """The timeline once it has an event of each type."""
        until = time.monotonic() + timeout
        while True:
            events = self.events(key)
            seen = [event["type"] for event in events]
            if set(types) <= set(seen):
                return events
            assert time.monotonic() < until, f"{types} not among {seen} of {key}\n{self.log()[-6000:]}"
            time.sleep(0.05)


@contextmanager
def running_daemon(docker_socket: str, *, secret: str | None = CANARY_KEY, **env: str) -> Iterator[Daemon]:
    """A daemon with a state folder of its own; ended, with everything that it made, on leaving.

    The folder is not pytest's: eleagentd is another user than root, which has to get there.
    """
    home = Path(tempfile.mkdtemp(prefix="eleagent-test-"))
    home.chmod(0o711)
    # By this name .ci/run finds what a killed run left behind.
    (home / "installation").write_text(f"test-{home.name}\n")
    base = {
        name: value for name, value in os.environ.items() if not name.startswith(("ELEAGENT_", "ANTHROPIC_", "CLAUDE_"))
    }
    keys = {"ANTHROPIC_API_KEY": secret} if secret else {}
    # Nobody answers there: no test of ours talks to a provider.
    keys["ELEAGENT_MODEL_UPSTREAM"] = "http://127.0.0.1:9"
    keys["XDG_STATE_HOME"] = str(home / "client-state")
    # What is left of a session can be counted only where nothing is made ahead for the next.
    keys["ELEAGENT_SESSION_SPARES"] = "0"
    daemon = Daemon(
        home=home, env=base | keys | {"ELEAGENT_HOME": str(home), "ELEAGENT_DOCKER_SOCKET": docker_socket} | env
    )
    try:
        daemon.start()
        yield daemon
        for session in daemon.json("ps", "--json")["sessions"] if daemon.parent else ():
            daemon.cli("stop", session["key"])
            daemon.cli("wait", session["key"])
    finally:
        daemon.end()
        remove(home)


def remove(home: Path) -> None:
    """With what a launcher that ended in the middle of its work left mounted there; the next one would remove it."""
    for mount in reversed(re.findall(rf" ({re.escape(str(home))}\S*) ", Path("/proc/self/mounts").read_text())):
        subprocess.run(["umount", mount], check=True)
    shutil.rmtree(home)


@contextmanager
def private_daemon(**env: str) -> Iterator[Daemon]:
    """A state folder and an environment whose daemon a client starts; it is ended on leaving. No engine is needed."""
    home = Path(tempfile.mkdtemp(prefix="eleagent-test-"))
    home.chmod(0o711)
    base = {name: value for name, value in os.environ.items() if not name.startswith(("ELEAGENT_", "ANTHROPIC_"))}
    settings = {"ELEAGENT_HOME": str(home), "ELEAGENT_IDLE_S": "60", "ELEAGENT_RUNTIME": "docker"}
    daemon = Daemon(home=home, env=base | settings | {"XDG_CONFIG_HOME": str(home / "client")} | env)
    try:
        yield daemon
    finally:
        for pid in daemon.parents():
            os.kill(pid, signal.SIGTERM)
        daemon.await_end()
        remove(home)
