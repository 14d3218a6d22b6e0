"""Does a person who logs in over the network work as on the server itself, and a machine with its key?"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from ..cli.webdaemon import PASSWORD, Authority
from ..daemonfixture import Daemon, private_daemon

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(120)]


@dataclass
class Far:
    """A client that meets the daemon over TLS alone."""

    url: str
    daemon: Daemon
    env: dict[str, str]

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "eleagent.cli.main", *arguments],
            env=self.env | env, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    authority = Authority(tmp_path)
    authority.server_tls()
    pem = tmp_path / "server-127.0.0.1.pem"
    pem.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = {"ELEAGENT_TLS_CERT": str(pem), "ELEAGENT_TLS_KEY": str(pem)}
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_LISTEN=f"127.0.0.1:{port}", **tls) as daemon:
        env = {name: value for name, value in daemon.env.items() if not name.startswith("ELEAGENT_")}
        env |= {"XDG_CONFIG_HOME": str(tmp_path / "far")}
        far = Far(f"https://127.0.0.1:{port}", daemon, env)
        init = ("init", "--org", "Acme", "--user", "ada", "--password-stdin")
        started = far(*init, stdin=PASSWORD, **{k: v for k, v in daemon.env.items() if k.startswith("ELEAGENT_")})
        assert started.returncode == 0, started.stderr
        flags = ("login", far.url, "-u", "ada", "--password-stdin", "--cacert", str(authority.cacert))
        logged_in = far(*flags, stdin=PASSWORD)
        assert logged_in.returncode == 0, logged_in.stderr
        yield far


def test_person_over_the_network_runs_and_reads_like_one_on_the_server(far: Far) -> None:
    done = far("run", "--json", "--", "sh", "-c", "echo made > /artefacts/file; echo said")
    assert done.returncode == 0, done.stderr
    who = msgspec.json.decode(far("whoami", "--json").stdout)
    assert (who["user"], who["role"], who["via"]) == ("ada", "owner", "login")
    (session,) = msgspec.json.decode(far("ps", "-a", "--json").stdout)["sessions"]
    assert session["owner"] == "ada"
    assert far("logs", "-q", session["key"]).stdout == "said\n"
    assert far("artefact", "cat", session["key"], "file").stdout == "made\n"


def test_login_is_over_at_once_when_it_is_ended(far: Far) -> None:
    stored = (Path(far.env["XDG_CONFIG_HOME"]) / "eleagent" / "credentials.json").read_bytes()
    assert far("logout").returncode == 0
    (Path(far.env["XDG_CONFIG_HOME"]) / "eleagent" / "credentials.json").write_bytes(stored)
    done = far("ps")
    assert (done.returncode, done.stderr) == (
        126,
        f"eleagent: your login at {far.url} is over: eleagent login {far.url}\n",
    )


def test_machine_comes_in_by_its_key(far: Far) -> None:
    key = far("key", "create", "nightly", "--group", "ci_cd").stdout.strip()
    assert key.startswith("eak_")
    assert far("logout").returncode == 0
    who = far("whoami", "--json", ELEAGENT_API_KEY=key)
    assert who.returncode == 0, who.stderr
    assert msgspec.json.decode(who.stdout)["via"] == "key"
    refused = far("user", "ls", ELEAGENT_API_KEY=key[:-1] + ("x" if key[-1] != "x" else "y"))
    assert refused.returncode == 126
    assert key[:-1] not in refused.stderr
