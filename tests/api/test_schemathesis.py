"""Does the running daemon keep to its OpenAPI document, whatever is asked of it, and never fail over it?

Every check, in every phase, over TCP: on the Unix socket the kernel says who calls, so a token that is left out or
wrong is nothing to refuse there, which is what `ignored_auth` asks for. Who is refused too often from one address is
answered late and then not at all, on purpose, so each request comes from an address of its own. What ends the login
that asks comes last, one at a time.

SCHEMATHESIS_EXAMPLES=N tries more of each operation than the few that fit into a run of all tests.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from eleagent.client.address import UnixSocket
from eleagent.client.api import Client
from eleagent.operations.logins import LOGIN_CONFIRM, LOGIN_CREATE, LOGIN_REFRESH, LOGOUT
from eleagent.operations.organization import KEYS_ROTATE
from eleagent.operations.system import OPENAPI
from eleagent.operations.table import Operation
from eleagent.operations.users import LOGIN_REVOKE
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.logins import LoginCreate

from ..daemonfixture import private_daemon
from .crowd import crowd

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
LONGEST_S = 220 + 120 * EXAMPLES

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(2 * LONGEST_S)]

CONFIG = Path(__file__).parent / "data" / "schemathesis.toml"
PASSWORD = "a horse that nobody saw staple"
LOGIN = {
    "name": "ada",
    "loginEndpointAuth": {
        "verb": "POST",
        "endpoint": LOGIN_CREATE.path,
        "headers": [{"name": VERSION_HEADER, "value": __version__}],
        "contentType": "application/json",
        "payloadRaw": msgspec.json.encode(LoginCreate(user="ada", password=PASSWORD)).decode(),
        "token": {
            "extractFrom": "body",
            "extractSelector": "/access",
            "sendIn": "header",
            "sendName": "Authorization",
            "sendTemplate": "Bearer {token}",
        },
    },
}
"""How it logs in by itself, in the form of Web Fuzzing Commons: again and again, so that no run is too long for it."""
GUESSING = (LOGIN_CREATE, LOGIN_REFRESH, LOGIN_CONFIRM)
ENDING = (KEYS_ROTATE, LOGIN_REVOKE, LOGOUT)


@dataclass
class Served:
    url: str
    document: Path
    folder: Path

    def check(self, *options: str) -> None:
        """Fails with what schemathesis has to say against it."""
        headers = ("-H", f"{VERSION_HEADER}: {__version__}", "-H", "Connection: close")
        done = subprocess.run(
            [Path(sys.executable).with_name("st"), "--config-file", CONFIG, "run", self.document, "--url", self.url,
             *headers, "--auth-wfc", self.folder / "login.json", "--checks", "all",
             "--phases", "examples,coverage,fuzzing,stateful", "--seed", "1", "--max-examples", str(EXAMPLES),
             "--continue-on-failure", "--request-timeout", "10", "--no-color", *options],
            capture_output=True, text=True, timeout=LONGEST_S, check=False, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A daemon with an organization, and one of each thing that an operation is for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_LISTEN=f"127.0.0.1:{port}") as daemon:
        here = ("--host", f"http://127.0.0.1:{port}")
        for words in (
            ("init", "--org", "Acme", "--user", "ada", "--password-stdin"),
            ("login", here[1], "--user", "ada", "--password-stdin"),
            ("user", "add", "bob", "--role", "member", *here),
            ("project", "create", "apollo", *here),
            ("run", "-d", "--name", "ended", *here, "--", "true"),
            ("run", "-d", "--name", "last", *here, "--", "sleep", "600"),
        ):
            done = daemon.cli(*words, stdin=None, input=PASSWORD)
            assert done.returncode == 0, (words, done.stderr)
        (tmp_path / "login.json").write_bytes(msgspec.json.encode({"auth": [LOGIN]}))
        document = tmp_path / "openapi.json"
        document.write_bytes(msgspec.json.encode(Client(at=UnixSocket(str(daemon.socket))).call(OPENAPI)))
        try:
            with crowd(port) as way:
                yield Served(f"http://127.0.0.1:{way}", document, tmp_path)
        finally:
            there = ("--host", f"unix://{daemon.socket}")
            for session in daemon.json("ps", "--json", *there)["sessions"]:
                daemon.cli("stop", session["key"], *there)
                daemon.cli("wait", session["key"], *there)


def flags(name: str, operations: Sequence[Operation]) -> list[str]:
    return [flag for one in operations for flag in (name, one.id)]


def test_daemon_keeps_to_its_document(served: Served) -> None:
    served.check(*flags("--exclude-operation-id", GUESSING + ENDING))


def test_logins_keep_to_the_document(served: Served) -> None:
    served.check(*flags("--include-operation-id", GUESSING))
    for one in ENDING:
        served.check(*flags("--include-operation-id", [one]))
