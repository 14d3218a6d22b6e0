"""How does a benchmark meet a full-screen program: on a pseudo-terminal that counts bytes, and can be slow?"""

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

QUIET_S = 0.06


class Terminal:
    """`command` on a terminal of `size`; `rate` is how many bytes a second its link takes, 0 for all."""

    def __init__(self, command: list[str], env: dict[str, str], *, size: tuple[int, int] = (80, 24)) -> None:
        self.begun = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, env)
        columns, rows = size
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.rate = 0
        self.total = 0
        self.last_at = 0.0
        self._tail = b""
        self._marks: list[tuple[bytes, threading.Event, list[float]]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.fd, 65536 if not self.rate else max(64, self.rate // 50))
            except OSError:
                return
            if not piece:
                return
            now = time.perf_counter()
            self.total += len(piece)
            self.last_at = now
            text = self._tail + piece
            for mark, event, at in self._marks:
                if mark in text and not event.is_set():
                    at.append(now)
                    event.set()
            self._tail = text[-200:]
            if self.rate:
                time.sleep(len(piece) / self.rate)

    def key(self, keys: str, until: str, timeout_s: float = 20) -> float:
        """Milliseconds from the key to the paint of a text."""
        return self.wait(until, lambda: os.write(self.fd, keys.encode()), timeout_s)

    def wait(self, text: str, act=lambda: None, timeout_s: float = 20, since: float | None = None) -> float:
        event, at = threading.Event(), []
        self._tail = b""
        self._marks.append((text.encode(), event, at))
        begun = time.perf_counter()
        act()
        if not event.wait(timeout_s):
            sys.exit(f"bench: {text!r} was not painted within {timeout_s:g} s")
        self._marks = [one for one in self._marks if one[1] is not event]
        return (at[0] - (since if since is not None else begun)) * 1000

    def paint(self, keys: str) -> float:
        """Milliseconds from the key to the last byte of what it painted."""
        self.settle()
        begun, before = time.perf_counter(), self.total
        os.write(self.fd, keys.encode())
        while self.total == before:
            if time.perf_counter() - begun > 5:
                sys.exit(f"bench: {keys!r} painted nothing")
            time.sleep(0.0005)
        self.settle()
        return (self.last_at - begun) * 1000

    def settle(self) -> None:
        while time.perf_counter() - self.last_at < QUIET_S:
            time.sleep(0.002)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
