"""Is who is logged in to the server known to its daemon, and a stranger told what to do, by the kernel's word alone?"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.version import VERSION_HEADER, __version__

from ..daemonfixture import Daemon, private_daemon

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.getuid() != 0, reason="becomes other users of this machine"),
]

BOB, EVE = "games", "news"
"""Accounts that every Debian and Ubuntu has."""


@pytest.fixture
def machine() -> Iterator[Daemon]:
    """The machine's own daemon."""
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap") as daemon:
        assert daemon.cli("init", "--org", "Acme", "--user", "ada", "--unix-user", "root").returncode != 0
        assert daemon.cli("init", "--org", "Acme", "--user", "ada", "--unix-user", "daemon").returncode == 0
        yield daemon


def asks(path: Path, name: str) -> str:
    """What the daemon answers to that user of the machine when asked who that is."""
    account = pwd.getpwnam(name)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        said = b""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                head = f"GET /v1/whoami HTTP/1.1\r\nHost: eleagent\r\n{VERSION_HEADER}: {__version__}\r\n"
                sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
                while piece := sock.recv(4096):
                    said += piece
        except OSError as error:
            said = str(error).encode()
        os.write(writing, said)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def test_user_of_the_machine_comes_in_by_account_and_a_stranger_is_told_how(machine: Daemon) -> None:
    stranger = asks(machine.socket, BOB)
    assert " 403 " in stranger.splitlines()[0]
    assert f"eleagent user add {BOB} --unix-user {BOB}" in stranger
    assert machine.cli("user", "add", "bob", "--unix-user", BOB).returncode == 0
    known = asks(machine.socket, BOB)
    assert " 200 " in known.splitlines()[0]
    assert '"user":"bob"' in known
    assert '"role":"member"' in known
    assert " 403 " in asks(machine.socket, EVE).splitlines()[0]
    assert machine.cli("user", "edit", "bob", "--disable").returncode == 0
    assert "user bob is disabled" in asks(machine.socket, BOB)
    assert " 403 " in asks(machine.socket, "nobody").splitlines()[0]
