"""What happens when nothing can be recorded: is work refused, do sandboxes stand still, and can they still be ended?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from eleagent.version import VERSION_HEADER, __version__

from ..daemonfixture import Daemon, running_daemon
from ..smalldisk import fill

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

PASSWORD = "a horse that nobody saw staple"
ASK = """
import socket
door = socket.create_connection(("127.0.0.1", 328))
door.sendall(b"CONNECT first.invalid:443 HTTP/1.1\\r\\nHost: first.invalid:443\\r\\n\\r\\n")
print(door.recv(4096).decode(), flush=True)
"""
CLOCK = "i=0; while [ $i -lt {} ]; do i=$((i+1)); date +%s.%N; sleep 0.1; done"


@pytest.fixture
def small(docker_socket: str) -> Iterator[Daemon]:
    """A daemon whose audit log has a small disk of its own."""
    with running_daemon(docker_socket, ELEAGENT_AUDIT_PAUSE_GRACE_S="1") as own:
        own.stop()
        ledger = own.home / "ledger"
        kept = [(path, path.read_bytes()) for path in ledger.rglob("*") if path.is_file() and path.name != "reserve"]
        owner = ledger.stat()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(ledger)], check=True)
        os.chown(ledger, owner.st_uid, owner.st_gid)
        for path, data in kept:
            for folder in reversed(path.relative_to(ledger).parents):
                (ledger / folder).mkdir(exist_ok=True)
                os.chown(ledger / folder, owner.st_uid, owner.st_gid)
            path.write_bytes(data)
            path.chmod(0o600)
            os.chown(path, owner.st_uid, owner.st_gid)
        (ledger / "log-0001" / "tree").mkdir(exist_ok=True)
        own.start()
        yield own


@contextmanager
def own_disk(docker_socket: str, **env: str) -> Iterator[Daemon]:
    """A daemon that has one small disk for all that it keeps."""
    with running_daemon(docker_socket, **env) as own, tempfile.TemporaryDirectory() as kept:
        own.stop()
        subprocess.run(["cp", "-a", f"{own.home}/.", kept], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "none", str(own.home)], check=True)
        subprocess.run(["cp", "-a", f"{kept}/.", str(own.home)], check=True)
        own.start()
        yield own


@pytest.fixture
def crowded(docker_socket: str) -> Iterator[Daemon]:
    with own_disk(docker_socket) as own:
        yield own


def state(daemon: Daemon, key: str) -> dict[str, Any]:
    listed: list[dict[str, Any]] = daemon.json("ps", "-a", "--json")["sessions"]
    return next(one for one in listed if one["key"] == key)


def until(wanted: Any, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not wanted():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_full_audit_log_refuses_work_pauses_sandboxes_and_lets_them_be_stopped(small: Daemon) -> None:
    first, second = (small.cli("run", "-d", "--", "sh", "-c", CLOCK.format(9999)).stdout.strip() for _ in range(2))
    for key in (first, second):
        small.wait_for(key, "output.text")
    filler = fill(small.home / "ledger")
    refused = small.cli("run", "-d", "--json", "--", "true")
    assert (refused.returncode, "audit_unavailable" in refused.stdout) == (125, True), refused
    until(lambda: state(small, second)["state"] == "paused")
    assert state(small, second)["paused_by"] == ["audit"]
    assert "refused" in small.cli("doctor").stdout
    stopped = small.cli("stop", first)
    assert stopped.returncode == 0, stopped.stderr
    small.wait_for(first, "session.ended")
    filler.unlink()
    until(lambda: state(small, second)["state"] == "running")
    small.cli("stop", second)
    small.wait_for(second, "session.ended")
    records = small.json("audit", "ls", "--json", "--since", "1h")["records"]
    told = [(one["action"], one["phase"]) for one in records if one.get("session") == first]
    assert ("session.stop", "intent") in told
    assert ("session.ended", "event") in told
    assert "audit.resumed" in [one["action"] for one in records]
    verified = small.cli("audit", "verify", str(small.home / "ledger"))
    assert verified.returncode == 0, verified.stdout


def test_full_disk_refuses_what_gives_and_lets_what_takes_away_be_done_and_recorded(crowded: Daemon) -> None:
    def key() -> str:
        found: str = crowded.json("key", "create", "x", "--group", "read_only", "--json")["key"]["id"]
        return found

    assert crowded.cli("init", "--user", "ada").returncode == 0
    assert crowded.cli("user", "add", "bob").returncode == 0
    first, second = key(), key()
    filler = fill(crowded.home)
    os.truncate(filler, filler.stat().st_size - (2 << 20))
    until(lambda: "are free for the audit log" in crowded.cli("doctor").stdout)
    more = fill(crowded.home, "more")
    refused = crowded.cli("user", "add", "eve")
    assert "audit log can't be written, so this is refused: No space left" in refused.stderr
    for taken in (("key", "revoke", first), ("user", "edit", "bob", "--disable"), ("key", "revoke", second)):
        done = crowded.cli(*taken)
        assert done.returncode == 0, done.stderr
    more.unlink()
    filler.unlink()
    until(lambda: "audit.resumed" in crowded.cli("audit", "ls", "--json").stdout)
    records = crowded.json("audit", "ls", "--json")["records"]
    told = [(one["action"], one["phase"], one.get("object")) for one in records]
    for action, target in (("key.revoke", first), ("user.administer", "bob"), ("key.revoke", second)):
        assert (action, "intent", target) in told
        assert (action, "outcome", target) in told
    assert crowded.json("key", "ls", "--json")["keys"] == []
    verified = crowded.cli("audit", "verify", str(crowded.home / "ledger"))
    assert verified.returncode == 0, verified.stdout


@dataclass
class Remote:
    """A client that meets the daemon over TCP, by tokens alone."""

    port: int

    def __call__(self, method: str, path: str, token: str = "", **body: str) -> tuple[int, dict[str, Any]]:
        headers = {VERSION_HEADER: __version__, "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def log_in(self, user: str) -> tuple[str, str]:
        """The id of a login, and its access token."""
        status, tokens = self("POST", "/v1/login", user=user, password=PASSWORD)
        assert status == 200, tokens
        return tokens["login"], tokens["access"]


def leave_no_room(daemon: Daemon) -> list[Path]:
    """Not a block, and what was kept is gone: a gap that anybody fills before the daemon can."""
    fillers = [fill(daemon.home)]
    (daemon.home / "ledger" / "reserve").unlink()
    return [*fillers, fill(daemon.home, "more")]


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_full_disk_whose_reserve_is_gone_lets_everything_be_taken_away_and_recorded(
    docker_socket: str, tmp_path: Path, dies: bool
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        remote = Remote(free.getsockname()[1])
    policies = tmp_path / "config.toml"
    policies.write_text("[policies.asking.approvals]\nhosts = true\nhold_s = 60\n")
    settings = {"ELEAGENT_LISTEN": f"127.0.0.1:{remote.port}", "ELEAGENT_CONFIG": str(policies)}
    with own_disk(docker_socket, **settings) as own:
        given = {"input": PASSWORD, "stdin": None}
        assert own.cli("init", "--user", "ada", "--password-stdin", **given).returncode == 0
        for name in ("bob", "cleo"):
            added = own.cli("user", "add", name, "--password-stdin", **given)
            assert added.returncode == 0, added.stderr
        made = own.json("key", "create", "x", "--group", "read_only", "--json")
        key, secret = made["key"]["id"], made["secret"]
        (_, disabled), (leaving, left), (revoked, ended) = map(remote.log_in, ("bob", "cleo", "cleo"))
        tokens = [secret, disabled, left, ended]
        assert [remote("GET", "/v1/whoami", one)[0] for one in tokens] == [200] * 4
        quiet = own.cli("run", "-d", "--", "sleep", "600").stdout.strip()
        asking = own.cli("run", "-d", "--policy", "asking", "--approvals", "wait", "--", "python3", "-c", ASK)
        until(lambda: own.json("approval", "ls", "--json")["approvals"])
        (question,) = own.json("approval", "ls", "--json")["approvals"]
        assert question["session"] == asking.stdout.strip()
        own.wait_for(quiet, "session.started")

        fillers = leave_no_room(own)
        refused = own.cli("user", "add", "eve")
        assert "audit log can't be written, so this is refused" in refused.stderr, refused
        acts = [
            ("stop", quiet), ("deny", question["id"]), ("key", "revoke", key), ("login", "revoke", revoked),
            ("user", "edit", "bob", "--disable"),
        ]  # fmt: skip
        for act in acts:
            done = own.cli(*act)
            assert done.returncode == 0, (act, done.stderr)
        assert remote("POST", "/v1/logout", left) == (200, {"id": leaving})

        def assert_taken_away() -> None:
            assert [remote("GET", "/v1/whoami", one)[0] for one in tokens] == [401] * 4
            assert own.json("key", "ls", "--json")["keys"] == []
            assert own.json("approval", "ls", "--json")["approvals"] == []
            (closed,) = own.json("approval", "ls", "--all", "--json")["approvals"]
            assert (closed["id"], closed["state"]) == (question["id"], "denied")
            assert [one["name"] for one in own.json("user", "ls", "--json")["users"] if one["state"] == "disabled"] == [
                "bob"
            ]

        assert_taken_away()
        assert os.statvfs(own.home).f_bavail == 0, "nobody made room meanwhile"
        if dies:
            own.kill("eleagent_daemon.main")
            time.sleep(4)
            if own.cli("status").returncode == 0:  # its databases found room for what it owed in what they have
                assert_taken_away()
        for filler in fillers:
            filler.unlink()
        own.answers()
        own.wait_for(quiet, "session.ended")
        until(lambda: state(own, quiet)["state"] == "stopped")
        wanted = [
            ("session.stop", "allowed", quiet), ("approval.answer", "allowed", question["id"]),
            ("approval.decided", "denied", question["id"]), ("key.revoke", "allowed", key),
            ("login.revoke", "allowed", revoked), ("login.end", "allowed", ""), ("user.administer", "allowed", "bob"),
        ]  # fmt: skip

        def told() -> list[tuple[str, str, str]]:
            """What was done; the last page of the log's file may have had a place for the first of it."""
            records = own.json("audit", "ls", "--json", "--limit", "1000")["records"]
            done = [one for one in records if one["phase"] != "intent"]
            return [(one["action"], one.get("decision", ""), one.get("object", "")) for one in done]

        until(lambda: own.cli("audit", "ls").returncode == 0)  # it looks for room once a second
        until(lambda: [one for one in wanted if one not in told()] == [])
        assert [told().count(one) for one in wanted] == [1] * len(wanted)
        records = own.json("audit", "ls", "--json", "--limit", "1000")["records"]
        late = {one["action"] for one in records if one.get("details", {}).get("late")}
        assert late & {action for action, _, _ in wanted}, "some found no place left in the log's last page"
        assert_taken_away()
        until(lambda: own.cli("user", "add", "eve").returncode == 0)
        verified = own.cli("audit", "verify", str(own.home / "ledger"))
        assert verified.returncode == 0, verified.stdout


def hang(own: Daemon) -> Callable[[], None]:
    (pid,) = own.pids("eleagent_daemon.main")
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def go(own: Daemon) -> Callable[[], None]:
    """For as long as nobody starts it again."""
    assert own.parent is not None
    parent = own.parent.pid
    os.kill(parent, signal.SIGSTOP)
    own.kill("eleagent_daemon.main")
    return lambda: os.kill(parent, signal.SIGCONT)


@pytest.mark.parametrize("leave", [hang, go])
def test_launcher_pauses_sandboxes_whose_daemon_does_not_record(
    docker_socket: str, leave: Callable[[Daemon], Callable[[], None]]
) -> None:
    settings = {"ELEAGENT_AUDIT_PAUSE_GRACE_S": "0", "ELEAGENT_SESSION_ON_DAEMON_LOSS": "pause"}
    with running_daemon(docker_socket, **settings) as own:
        key = own.cli("run", "-d", "--", "sh", "-c", CLOCK.format(90)).stdout.strip()
        own.wait_for(key, "output.text")
        come_back = leave(own)
        time.sleep(9)
        come_back()
        own.answers()
        events = own.wait_for(key, "session.ended")
        log = own.log()
    times = [
        float(word)
        for event in events
        if event["type"] == "output.text"
        for word in event["data"]["text"].split()
    ]  # fmt: skip
    assert len(times) == 90
    assert max(after - before for before, after in pairwise(times)) > 2, log
