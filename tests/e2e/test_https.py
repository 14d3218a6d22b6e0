"""Does a person who logs in over the network work as on the server itself, and a machine with its key?"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ..cli.webdaemon import PASSWORD, Authority
from ..daemonfixture import CANARY_KEY, Daemon, private_daemon
from ..tui.terminal import Terminal
from .provider import provider

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
    with reached(tmp_path) as far:
        yield far


@contextmanager
def reached(tmp_path: Path, **settings: str) -> Iterator[Far]:
    authority = Authority(tmp_path)
    authority.server_tls()
    pem = tmp_path / "server-127.0.0.1.pem"
    pem.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = {"ELEAGENT_TLS_CERT": str(pem), "ELEAGENT_TLS_KEY": str(pem)}
    with private_daemon(
        ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_LISTEN=f"127.0.0.1:{port}", **tls, **settings
    ) as daemon:
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


def test_person_logs_in_on_the_screen_and_works_there(far: Far, tmp_path: Path) -> None:
    assert far("run", "-q", "--name", "worker", "--", "sh", "-c", "echo said over tls").returncode == 0
    assert far("logout").returncode == 0
    config = {"XDG_CONFIG_HOME": far.env["XDG_CONFIG_HOME"]}
    terminal = Terminal(far.daemon.socket, tmp_path, host=far.url, cacert=tmp_path / "ca.pem", **config)
    try:
        terminal.wait_for("Log in at https://", timeout_s=20)
        terminal.type("\x15ada\r")
        terminal.wait_for("Password of ada:")
        terminal.type(f"{PASSWORD}\r")
        terminal.wait_for("worker", timeout_s=20)
        terminal.type("\r")
        terminal.wait_for("said over tls", timeout_s=20)
        terminal.type("q")
        assert terminal.wait(20) == 0
    finally:
        terminal.end()
    assert PASSWORD.encode() not in terminal.seen
    assert far("ps").returncode == 0


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


TURNS = """
import json, os, urllib.request
def ask():
    body = json.dumps({"model": "claude-opus-4-8", "max_tokens": 8000, "messages": []}).encode()
    request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", data=body, headers={
        "x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"})
    urllib.request.urlopen(request).read()
ask(); ask(); print("twice")
"""


def ended(far: Far, *flags: str, **env: str) -> dict[str, Any]:
    """How a session ended that asks the model twice. The first time pays a hundredth of the day, and leaves too little
    for what the second may cost.
    """
    done = far("run", "--json", *flags, "--", "python3", "-c", TURNS, **env)
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == last["exit_code"], done.stderr
    return last


def test_day_of_a_key_ends_for_its_sessions_alone(tmp_path: Path) -> None:
    with provider(CANARY_KEY) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        settings = {"ELEAGENT_MODEL_UPSTREAM": url, "ANTHROPIC_API_KEY": CANARY_KEY}
        with reached(tmp_path, ELEAGENT_BUDGET_KEY_DAY_USD="0.026", **settings) as far:
            key = far("key", "create", "nightly", "--group", "ci_cd").stdout.strip()
            met = ended(far, ELEAGENT_API_KEY=key)
            assert (met["exit_code"], met["reason"]) == (123, "limit_reached")
            assert met["detail"].startswith("its API key's budget of the day is used up")
            assert ended(far)["exit_code"] == 0, "a login has no key whose day could end"
            assert len(upstream.seen) == 3


def test_day_of_a_project_ends_and_an_administrator_lets_one_session_go_on(tmp_path: Path) -> None:
    with provider(CANARY_KEY) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        settings = {"ELEAGENT_MODEL_UPSTREAM": url, "ANTHROPIC_API_KEY": CANARY_KEY}
        with reached(tmp_path, ELEAGENT_BUDGET_PROJECT_DAY_USD="0.026", **settings) as far:
            assert far("project", "create", "docs").returncode == 0
            met = ended(far, "--project", "docs")
            assert (met["exit_code"], met["reason"]) == (123, "limit_reached")
            assert met["detail"].startswith("its project's budget of the day is used up")
            flags = ("--project", "docs", "--on-limit", "pause", "--approvals", "wait", "--max-cost", "2")
            key = far("run", "-d", *flags, "--", "python3", "-c", TURNS).stdout.strip()
            until = time.monotonic() + 60
            while not (found := json.loads(far("approval", "ls", "--json").stdout)["approvals"]):
                assert time.monotonic() < until, far("logs", key).stdout
                time.sleep(0.2)
            assert found[0]["subject"].startswith("project_day_usd 2.03 USD on ")
            assert far("approve").returncode == 0
            assert far("wait", key).returncode == 0, far("logs", key).stdout
            raised = json.loads(far("session", "show", key, "--json").stdout)["session"]["day_raises"]
            assert [one["limit"] for one in raised] == ["project_day_usd"]
