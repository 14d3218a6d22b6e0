"""How does a test meet the real program: on a pseudo-terminal of its own, byte for byte?"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import threading
import time
from pathlib import Path


class Terminal:
    """`eleagent` in a process of its own; `seen` is all that it wrote."""

    def __init__(
        self,
        socket: Path,
        state: Path,
        *,
        size: tuple[int, int] = (80, 24),
        host: str | None = None,
        cacert: Path | None = None,
        **env: str,
    ) -> None:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ELEAGENT_", "TMUX", "SSH_")) and name not in ("NO_COLOR", "COLORTERM")
        }
        variables = clean | {
            "ELEAGENT_HOST": host or f"unix://{socket}", "XDG_STATE_HOME": str(state), "TERM": "xterm-256color",
        } | env  # fmt: skip
        command = [sys.executable, "-m", "eleagent.cli.main", *(["--cacert", str(cacert)] if cacert else [])]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, command, variables)
        columns, rows = size
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seen = b""
        self._code: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                return
            if not piece:
                return
            self.seen += piece

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, text: str, *, after: int = 0, timeout_s: float = 8) -> None:
        self.until(lambda: text.encode() in self.seen[after:], f"{text!r} did not come", timeout_s)

    def until(self, true, what: str, timeout_s: float = 8) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"{what}: {self.seen[-2000:]!r}"
            time.sleep(0.01)

    def settle(self, quiet_s: float = 0.15, timeout_s: float = 8) -> None:
        """Wait until nothing has been written for a moment."""
        deadline, size, since = time.monotonic() + timeout_s, -1, time.monotonic()
        while time.monotonic() < deadline:
            if len(self.seen) != size:
                size, since = len(self.seen), time.monotonic()
            elif time.monotonic() - since > quiet_s:
                return
            time.sleep(0.01)

    def kill(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 8) -> int:
        """The exit code, or the negative number of the signal that ended it."""
        deadline = time.monotonic() + timeout_s
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                break
            assert time.monotonic() < deadline, f"still running: {self.seen[-2000:]!r}"
            time.sleep(0.01)
        self._reader.join(1)
        os.close(self.fd)
        return self._code

    def end(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
