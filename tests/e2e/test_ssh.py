"""Does everything work through ssh as it does here, and is what goes wrong told in ssh's own words?"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eleagent.client.aio import AsyncClient
from eleagent.client.api import Client
from eleagent.client.remote import Ssh
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent
from eleagent.wire.sessions import SessionList
from eleagent.wire.timeline import Event

from ..cli.fakedaemon import KEY, Break, Call, FakeDaemon, FakeSession, created, ended
from ..daemonfixture import private_daemon
from ..tui.scripted import STORY, Scene
from ..tui.scripted import session as a_session
from ..tui.terminal import Terminal
from .sshfixture import Server, ssh_server

pytestmark = pytest.mark.timeout(60)
THERE = Ssh("there")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The far end's state folder."""
    folder = Path(tempfile.mkdtemp(prefix="ele-far-"))
    (folder / "run").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with ssh_server(ELEAGENT_HOME=str(home)) as started:
        yield started


@pytest.fixture
def daemon(home: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(home / "run" / "api.sock") as fake:
        yield fake


@pytest.fixture
def near(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, as a client of the server."""
    for name in ("PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, server.env[name])


def eleagent(server: Server, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "eleagent.cli.main", *arguments],
        env=server.env, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def follow_sync() -> list[int]:
    return [item.seq for item in Client(at=THERE).follow(KEY) if isinstance(item, Event)]


def follow_async() -> list[int]:
    async def follow() -> list[int]:
        async with AsyncClient(at=THERE) as client:
            return [item.seq async for item in client.follow(KEY) if isinstance(item, Event)]

    return asyncio.run(follow())


def test_full_screen_client_works_through_ssh_and_waits_for_a_daemon_that_restarts(
    server: Server, daemon: FakeDaemon, tmp_path: Path
) -> None:
    scene = Scene(daemon)
    scene.add(a_session(1), *STORY)
    near = {name: server.env[name] for name in ("PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")}
    terminal = Terminal(daemon.path, tmp_path, host="ssh://there", **near)
    try:
        terminal.wait_for("able-otter-1", timeout_s=20)
        assert b"ssh://there" in terminal.seen
        terminal.type("\r")
        terminal.wait_for("The reports are", timeout_s=20)
        daemon.stop()
        daemon.start()
        scene.say(a_session(1).key, ev.AgentMessage("Back again."))
        terminal.wait_for("Back again.", timeout_s=20)
        terminal.type("q")
        assert terminal.wait(20) == 0
    finally:
        terminal.end()


@pytest.mark.parametrize("follow", [follow_sync, follow_async])
@pytest.mark.usefixtures("near")
def test_follow_through_ssh_resumes_torn_streams_without_loss_or_repeat(
    daemon: FakeDaemon, follow: Callable[[], list[int]]
) -> None:
    session = FakeSession(created(), *[ev.AgentMessage(f"{number}") for number in range(8)], ended())
    daemon.scripts |= session.scripts()

    def torn(call: Call) -> Iterator[Any]:
        after = int(call.query["after"])
        yield from session.events[after : after + 4]
        if after < 8:
            raise Break

    daemon.scripts["session_events"] = torn
    assert follow() == list(range(1, 11))


@pytest.mark.usefixtures("near")
def test_follow_through_ssh_waits_for_a_daemon_that_restarts(daemon: FakeDaemon) -> None:
    session = FakeSession(created(), *[ev.AgentMessage(f"{number}") for number in range(8)], ended())
    daemon.scripts |= session.scripts()

    def once(call: Call) -> Iterator[Any]:
        if call.query["after"] == "0":
            yield from session.events[:5]
            threading.Thread(target=restart).start()
            raise Break
        yield from session.events[int(call.query["after"]) :]

    def restart() -> None:
        daemon.stop()
        time.sleep(0.5)
        daemon.start()

    daemon.scripts["session_events"] = once
    assert follow_sync() == list(range(1, 11))


@pytest.mark.usefixtures("near")
def test_files_go_through_ssh_whole_both_ways(daemon: FakeDaemon, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    path = tmp_path / "binary"
    path.write_bytes(content)
    daemon.scripts["agent_install"] = lambda call: Agent(name=call.path["name"], adapter="claude", image="i")
    daemon.scripts["artefact_get"] = lambda call: iter([content[:1_000_000], content[1_000_000:]])
    client = Client(at=THERE)
    with path.open("rb") as file:
        client.upload(BY_ID["agent_install"], file, size_bytes=len(content), name="claude")
    assert daemon.calls[0].body == content
    assert b"".join(client.download(BY_ID["artefact_get"], query={"path": "x"}, key=KEY)) == content


def test_commands_share_one_connection(daemon: FakeDaemon, server: Server) -> None:
    daemon.scripts["session_list"] = lambda call: SessionList([])
    for _ in range(3):
        done = eleagent(server, "--host", "ssh://there", "ps", "--json")
        assert (done.returncode, done.stderr) == (0, "")
    assert server.log().count("Accepted publickey") == 1


def test_daemon_at_the_far_end_sees_the_account_that_ssh_logged_in() -> None:
    """A real daemon, which dial-stdio starts there as its account's own."""
    with private_daemon() as far:
        there = {name: text for name, text in far.env.items() if name.startswith("ELEAGENT_")}
        with ssh_server(**there) as server:
            done = eleagent(server, "--host", "ssh://there", "status")
            stopped = eleagent(server, "--host", "ssh://there", "daemon", "stop")
        assert stopped.stdout.startswith("the daemon at ssh://there ends (pid "), stopped.stderr
        far.await_end()
        assert done.returncode == 0, done.stderr
        lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
        assert lines["daemon"].startswith("at ssh://there")
        assert lines["home"].startswith(str(far.home))
        assert lines["you"] == f"{getpass.getuser()} (owner)"


@pytest.mark.parametrize(
    ("data", "says"), [("reports", "data lies where the daemon runs: give its absolute path there"), ("/srv/x", "")]
)
def test_data_is_named_by_its_path_at_the_far_end(daemon: FakeDaemon, server: Server, data: str, says: str) -> None:
    session = FakeSession(created(), ended())
    daemon.scripts |= session.scripts()
    done = eleagent(server, "--host", "ssh://there", "run", "-d", "--data", data, "look")
    assert says in done.stderr
    assert done.returncode == (2 if says else 0)
    if not says:
        assert daemon.calls[0].decoded(dict)["data"] == ["/srv/x"]


# What goes wrong


def refused(server: Server, *arguments: str) -> str:
    begin = time.monotonic()
    done = eleagent(server, *arguments, timeout=25)
    assert done.returncode == 125
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - begin < 15, "what stays wrong is not tried again and again"
    return done.stderr


@pytest.fixture
def broken() -> Iterator[Server]:
    """A server of one's own to break."""
    with ssh_server() as started:
        yield started


@pytest.mark.parametrize("command", [("ps",), ("logs", "-f", "@")])
def test_wrong_key_is_told_in_sshs_words(broken: Server, command: tuple[str, ...]) -> None:
    (broken.folder / "authorized").write_text("")
    said = refused(broken, "--host", "ssh://there", *command)
    assert said.startswith("eleagent: ssh://there is not reached, says ssh: ")
    assert "Permission denied (publickey)" in said


def test_changed_host_key_is_told_in_sshs_words(broken: Server) -> None:
    (broken.folder / "known").write_text(f"[127.0.0.1]:{broken.port} {(broken.folder / 'client.pub').read_text()}")
    assert "Host key verification failed" in refused(broken, "--host", "ssh://there", "ps")


def test_server_that_does_not_listen_is_told_in_sshs_words(broken: Server) -> None:
    assert "Connection refused" in refused(broken, "--host", "ssh://127.0.0.1:1", "ps")


def test_far_end_without_eleagent_says_where_it_is_looked_for(broken: Server) -> None:
    (broken.far / "eleagent").unlink()
    said = refused(broken, "--host", "ssh://there", "ps")
    assert "there is no eleagent on the PATH that ssh gives you there" in said


def test_far_end_that_has_no_daemon_speaks_for_itself(broken: Server) -> None:
    script = (broken.far / "eleagent").read_text()
    (broken.far / "eleagent").write_text(script.replace("exec", "ELEAGENT_HOME=/dev/null/x exec"))
    said = refused(broken, "--host", "ssh://there", "ps")
    assert said.startswith("eleagent: ssh://there says: your own daemon did not start: home: /dev/null/x can't be used")


def test_far_end_cannot_write_on_the_terminal(broken: Server) -> None:
    (broken.far / "eleagent").write_text("#!/bin/sh\nprintf '\\033]0;owned\\007oh\\n' >&2\nexit 3\n")
    said = refused(broken, "--host", "ssh://there", "ps")
    assert said == "eleagent: ssh://there says: \\x1b]0;owned\\x07oh\n"


def test_machine_without_ssh_says_what_to_install(broken: Server, tmp_path: Path) -> None:
    broken.env["PATH"] = str(tmp_path)
    assert "ssh is not installed here: apt-get install openssh-client" in refused(broken, "--host", "ssh://there", "ps")
