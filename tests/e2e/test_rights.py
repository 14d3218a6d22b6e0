"""Is who may no longer read a session cut off from it at once, over TCP and on the socket, and nobody else?"""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from eleagent.version import VERSION_HEADER, __version__

from ..daemonfixture import Daemon, private_daemon

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="becomes another user of this machine"),
]

PASSWORD = "a horse that nobody saw staple"
ACCOUNT = "games"
"""One that every Debian and Ubuntu has."""
TALK = "while :; do date; sleep 0.1; done"
CUT_S = 3.0
"""The daemon looks twice a second; a machine that is busy with other tests is given more than the second it takes."""


@contextlib.contextmanager
def as_account(name: str, path: Path) -> Iterator[socket.socket]:
    """A connection to the daemon's socket that this user of the machine opened, who lives as long as it is used."""
    ours, theirs = socket.socketpair()
    account = pwd.getpwnam(name)
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            ours.close()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                socket.send_fds(theirs, [b"x"], [sock.fileno()])
            theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        _, (fd,), *_ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=fd) as sock:
            yield sock
    os.waitpid(child, 0)


@dataclass
class Reader:
    """One who follows a session, in a thread of its own."""

    sock: socket.socket
    headers: dict[str, str]
    last: bytes = b""
    lines: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def follow(self, key: str) -> None:
        asked = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        path = f"/v1/sessions/{key}/events?follow=true&reason=review"
        self.sock.sendall(f"GET {path} HTTP/1.1\r\n{asked}\r\n".encode())
        threading.Thread(target=self._read).start()

    def _read(self) -> None:
        answer = http.client.HTTPResponse(self.sock)
        answer.begin()
        assert answer.status == 200, answer.read()
        while line := answer.readline():
            self.last = line
            self.lines += 1
        self.over.set()


@dataclass
class Place:
    daemon: Daemon
    port: int
    stack: contextlib.ExitStack

    def ask(self, path: str, body: object, token: str = "") -> tuple[int, bytes]:
        """What comes of a POST over TCP."""
        asking = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Content-Type": "application/json", VERSION_HEADER: __version__}
        sent = msgspec.json.encode(body) if body is not None else None
        asking.request("POST", path, sent, headers | ({"Authorization": f"Bearer {token}"} if token else {}))
        answer = asking.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            asking.close()

    def token(self, user: str) -> str:
        _, said = self.ask("/v1/login", {"user": user, "password": PASSWORD})
        return str(msgspec.json.decode(said)["access"])

    def over_tcp(self, user: str) -> Reader:
        sock = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
        bearer = f"Bearer {self.token(user)}"
        return Reader(sock, {"Host": "localhost", VERSION_HEADER: __version__, "Authorization": bearer})

    def on_socket(self) -> Reader:
        sock = self.stack.enter_context(as_account(ACCOUNT, self.daemon.socket))
        return Reader(sock, {"Host": "localhost", VERSION_HEADER: __version__})

    def say(self, *words: str) -> str:
        done = self.daemon.cli(*words, stdin=None, input=PASSWORD)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def place() -> Iterator[Place]:
    """carol is an administrator, also as an account of the machine; root's session is not hers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_LISTEN=f"127.0.0.1:{port}") as daemon:
        with contextlib.ExitStack() as stack:
            place = Place(daemon, port, stack)
            place.say("init", "--org", "Acme", "--user", "ada", "--password-stdin")
            flags = ("--role", "admin", "--unix-user", ACCOUNT, "--password-stdin")
            place.say("user", "add", "carol", *flags)
            yield place
        for session in daemon.json("ps", "--json")["sessions"]:
            daemon.cli("stop", session["key"])
            daemon.cli("wait", session["key"])


def grows(reader: Reader) -> None:
    """More of what is said arrives."""
    wanted, end = reader.lines + 3, time.monotonic() + 20
    while reader.lines < wanted:
        assert not reader.over.is_set(), reader.last
        assert time.monotonic() < end
        time.sleep(0.02)


def test_role_that_reads_no_longer_ends_what_it_reads_and_nothing_else(place: Place) -> None:
    key = place.say("run", "-q", "-d", "--", "sh", "-c", TALK)
    place.say("project", "create", "apollo")
    place.say("project", "member", "add", "apollo", "carol")
    shared = place.say("run", "-q", "-d", "--project", "apollo", "--", "sh", "-c", TALK)
    cut, kept = [place.over_tcp("carol"), place.on_socket()], [place.over_tcp("carol"), place.on_socket()]
    for reader, session in ((cut[0], key), (cut[1], key), (kept[0], shared), (kept[1], shared)):
        reader.follow(session)
    for reader in cut + kept:
        grows(reader)
    place.say("user", "edit", "carol", "--role", "owner")
    for reader in cut + kept:
        grows(reader)
    place.say("user", "edit", "carol", "--role", "member")
    for reader in cut:
        assert reader.over.wait(CUT_S)
        last = msgspec.json.decode(reader.last)
        assert last["notice"] == "error", last
    for reader in kept:
        grows(reader)


def test_who_drives_interrupts_and_pauses_and_changes_nothing_that_is_the_owners(place: Place) -> None:
    place.say("project", "create", "apollo")
    place.say("project", "member", "add", "apollo", "carol")
    place.say("user", "edit", "carol", "--role", "member")
    heard = "trap 'echo heard' INT; while :; do sleep 0.1; done"
    key = place.say("run", "-q", "-d", "--project", "apollo", "--", "sh", "-c", heard)
    place.daemon.wait_for(key, "session.started")
    token = place.token("carol")
    acts = (("interrupt", None), ("pause", {}), ("rename", {"name": "mine"}))

    def statuses() -> list[int]:
        return [place.ask(f"/v1/sessions/{key}/{act}", body, token)[0] for act, body in acts]

    assert statuses() == [403, 403, 403]
    place.say("session", "handover", key, "carol")
    assert statuses() == [202, 202, 403]
    place.say("session", "unpause", key)
    place.say("session", "handover", key, place.daemon.json("whoami", "--json")["user"])
    assert statuses() == [403, 403, 403]
    until = time.monotonic() + 20
    while "heard" not in place.say("logs", "-q", key):
        assert time.monotonic() < until
        time.sleep(0.1)
