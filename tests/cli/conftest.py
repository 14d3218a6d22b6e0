"""How do the tests run the real command line against the scripted daemon?"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .fakedaemon import FakeDaemon, FakeSession


@dataclass
class Done:
    code: int
    out: str
    err: str


class Terminal:
    """A child on a pseudo-terminal of its own; `seen` is all that it wrote, byte for byte."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, env)
        self.seen = b""

    def read_until(self, text: str, timeout_s: float = 8) -> None:
        deadline = time.monotonic() + timeout_s
        while text.encode() not in self.seen:
            assert self._read(deadline), f"{text!r} did not come: {self.seen!r}"

    def read_more(self, timeout_s: float = 8) -> None:
        """Wait for anything."""
        assert self._read(time.monotonic() + timeout_s), f"nothing more came: {self.seen!r}"

    def settle(self, quiet_s: float = 0.3) -> None:
        """Read until nothing comes any more: a signal is acted on when its process gets to it."""
        while self._read(time.monotonic() + quiet_s):
            pass

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def resize(self, columns: int, rows: int = 24) -> None:
        """The kernel tells who is in front (SIGWINCH)."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def wait(self, timeout_s: float = 8) -> int:
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"still running: {self.seen!r}"
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code

    def _read(self, deadline: float) -> bool:
        if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            return False
        self.seen += piece
        return bool(piece)


class CommandLine:
    """`eleagent` in a process of its own, its daemon being the scripted one."""

    def __init__(self, daemon: FakeDaemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ELEAGENT_")},
            "ELEAGENT_HOST": f"unix://{daemon.path}",
            "XDG_STATE_HOME": str(folder / "state"),
            "TERM": "xterm",
            "PYTHONWARNINGS": "error",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "eleagent.cli.main", *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"", **env: str) -> Done:
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, timeout=9, cwd=self.folder, env=self.env | env
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments), stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.folder, env=self.env
        )

    def on_terminal(self, *arguments: str) -> Terminal:
        return Terminal(self.command(*arguments), self.env)

    def serve(self, session: FakeSession) -> FakeSession:
        self.daemon.scripts |= session.scripts()
        return session


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "api.sock") as fake:
        yield fake


@pytest.fixture
def eleagent(daemon: FakeDaemon, tmp_path: Path) -> CommandLine:
    return CommandLine(daemon, tmp_path)
