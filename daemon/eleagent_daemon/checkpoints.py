"""How do checkpoints leave the machine, so that who takes it over can't write its past anew?"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiohttp

log = logging.getLogger(__name__)

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
SYSLOG_SOCKET: Final = Path("/dev/log")
_AUTHPRIV_NOTICE: Final = 10 << 3 | 5  # RFC 5424, section 6.2.1
_PACE_S: Final = 1.0
_ANSWER_S: Final = 10.0

Send = Callable[[str], Awaitable[None]]


class Departures:
    """`publish` takes each new checkpoint; `run`, for as long as the daemon lives, sends the newest to every place that
    the operator named. One that can't be reached is told of once, and gets the next.
    """

    def __init__(self, places: str, *, journal: Path = JOURNAL_SOCKET, syslog: Path = SYSLOG_SOCKET) -> None:
        self._journal = journal
        self._syslog = syslog
        self._places: dict[str, Send] = {place: self._sender(place) for place in places.split()}
        self._failing: set[str] = set()
        self._newest = ""
        self._some = asyncio.Event()

    def publish(self, note: str) -> None:
        self._newest = note
        self._some.set()

    async def run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            await self.send(self._newest)
            await asyncio.sleep(_PACE_S)

    async def send(self, note: str) -> None:
        """To every place. It never raises."""
        for place, send in self._places.items():
            try:
                await send(note)
            except (OSError, aiohttp.ClientError, TimeoutError) as err:
                if place not in self._failing:
                    log.warning("checkpoints can't be sent to %s: %s", place, err)
                self._failing.add(place)
            else:
                self._failing.discard(place)

    def _sender(self, place: str) -> Send:
        if place == "journal":
            return self._to_journal
        if place == "syslog":
            return self._to_syslog
        if place.startswith("file:"):
            return lambda note: asyncio.to_thread(_append, Path(place.removeprefix("file:")), note)
        return lambda note: _post(place, note)

    async def _to_journal(self, note: str) -> None:
        """journald's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL); else syslog; else the daemon's log."""
        line = _line(note).encode()
        fields = {b"MESSAGE": line, b"PRIORITY": b"5", b"SYSLOG_IDENTIFIER": b"eleagentd"}
        packed = b"".join(name + b"=" + value + b"\n" for name, value in fields.items())
        value = note.encode()
        packed += b"ELEAGENT_CHECKPOINT\n" + struct.pack("<Q", len(value)) + value + b"\n"
        try:
            _datagram(self._journal, packed)
        except (FileNotFoundError, ConnectionRefusedError):
            try:
                await self._to_syslog(note)
            except (FileNotFoundError, ConnectionRefusedError):
                log.info("%s", line.decode())

    async def _to_syslog(self, note: str) -> None:
        _datagram(self._syslog, f"<{_AUTHPRIV_NOTICE}>eleagentd: {_line(note)}".encode())


def _line(note: str) -> str:
    """The note on one line: each of its own line ends is two characters here."""
    return "audit checkpoint " + note.rstrip("\n").replace("\n", "\\n")


def _datagram(path: Path, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.connect(str(path))
        sock.send(data)


def _append(path: Path, note: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, note.encode())
        os.fsync(fd)
    finally:
        os.close(fd)


async def _post(url: str, note: str) -> None:
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.post(url, data=note.encode(), headers=headers, allow_redirects=False) as answer,
    ):
        answer.raise_for_status()
