"""Does the running daemon keep to its OpenAPI document, whatever is asked of it, and never fail over it?

Who is refused too often is answered late and then not at all, on purpose, and that would be all that the rest of a run
sees. So what guesses who one is has a daemon of its own, what ends the login that asks comes last there, and
`ignored_auth`, which costs two refusals an operation, is left to the matrix: that asks every operation as nobody and
with a bad token. The coverage phase is left out since it takes minutes.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from eleagent.client.api import Client
from eleagent.client.remote import Web
from eleagent.operations.logins import LOGIN_CONFIRM, LOGIN_CREATE, LOGIN_REFRESH, LOGOUT
from eleagent.operations.organization import KEYS_ROTATE
from eleagent.operations.table import Operation
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.logins import LoginCreate

from ..daemonfixture import private_daemon

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(240)]

CONFIG = Path(__file__).parent / "data" / "schemathesis.toml"
PASSWORD = "a horse that nobody saw staple"
GUESSING = (LOGIN_CREATE, LOGIN_REFRESH, LOGIN_CONFIRM)
ENDING = (KEYS_ROTATE, LOGOUT)


@dataclass
class Served:
    url: str
    token: str
    folder: Path

    def tried(self, *options: str) -> str:
        """What schemathesis says, of which it takes no more than a minute."""
        document = f"{self.url}/v1/openapi.json"
        headers = ("-H", f"Authorization: Bearer {self.token}", "-H", f"{VERSION_HEADER}: {__version__}")
        done = subprocess.run(
            [Path(sys.executable).with_name("st"), "--config-file", CONFIG, "run", document, "--url", self.url,
             *headers, "--checks", "all",
             "--exclude-checks", "ignored_auth", "--seed", "1", "--max-examples", "2", "--continue-on-failure",
             "--phases", "fuzzing", "--request-timeout", "10", "--no-color", *options],
            capture_output=True, text=True, timeout=220, check=False, cwd=self.folder,
        )  # fmt: skip
        return "" if done.returncode == 0 else done.stdout[-6000:] + done.stderr[-2000:]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_LISTEN=f"127.0.0.1:{port}") as daemon:
        init = [sys.executable, "-P", "-m", "eleagent.cli.main", "init", "--org", "Acme", "--user", "ada"]
        subprocess.run([*init, "--password-stdin"], env=daemon.env, input=PASSWORD, text=True, check=True)
        client = Client(at=Web(tls=False, server="127.0.0.1", port=port))
        tokens = client.call(LOGIN_CREATE, body=LoginCreate(user="ada", password=PASSWORD))
        yield Served(f"http://127.0.0.1:{port}", tokens.access, tmp_path)


def flags(name: str, operations: Sequence[Operation]) -> list[str]:
    return [flag for one in operations for flag in (name, one.id)]


def test_daemon_keeps_to_its_document(served: Served) -> None:
    assert served.tried(*flags("--exclude-operation-id", GUESSING + ENDING)) == ""


def test_logins_keep_to_the_document(served: Served) -> None:
    assert served.tried(*flags("--include-operation-id", GUESSING)) == ""
    for one in ENDING:
        assert served.tried(*flags("--include-operation-id", [one])) == ""
