"""What becomes of a session when a process dies at one of its delicate moments?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from ..daemonfixture import running_daemon
from .faults import DAEMON, LAUNCHER, assert_nothing_left, assert_whole, output

pytestmark = pytest.mark.timeout(150)

POLICY = """
[policies.asking.approvals]
hosts = true
hold_s = 60
"""

ASK = """
import socket, time
said = b""
while not said:
    try:
        door = socket.create_connection(("127.0.0.1", 328))
        door.sendall(b"CONNECT first.invalid:443 HTTP/1.1\\r\\nHost: first.invalid\\r\\n\\r\\n")
        said = door.recv(4096)
    except OSError:
        time.sleep(0.1)
print(said.decode())
"""


def test_kill_between_create_and_release_runs_the_agent_once(own, docker_socket):
    logs = own.home / "artefacts" / "logs"
    command = [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "-d", "--", "echo", "once"]
    injected = 0
    for moment in ("session.starting", "doors.opened"):
        for module in (DAEMON, LAUNCHER):
            about = f"{module} at {moment}"
            before = set(logs.glob("*.jsonl"))
            (victim,) = own.pids(module)
            with subprocess.Popen(
                command, env=own.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            ) as creating:
                until = time.monotonic() + 60
                while not (new := set(logs.glob("*.jsonl")) - before) or moment not in min(new).read_text():
                    assert time.monotonic() < until, about
                os.kill(victim, signal.SIGKILL)
                (timeline,) = new
                injected += "session.started" not in timeline.read_text()
                creating.wait(60)
            own.answers()
            events = own.wait_for(timeline.stem, "session.ended")
            assert_whole(events, about)
            assert (output(events), events[-1]["data"]["state"]) == ("once\n", "succeeded"), about
            while victim in own.pids(module) or not own.pids(module):
                time.sleep(0.05)
    assert injected >= 2, f"only {injected} of 4 were killed before the release"
    assert_nothing_left(own, docker_socket, "between create and release")


@pytest.mark.engine
@pytest.mark.bubblewrap
def test_question_that_is_open_when_the_daemon_dies_can_be_answered_to_the_next(docker_socket, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "config.toml"
    config.write_text(POLICY)
    with running_daemon(docker_socket, ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_CONFIG=str(config)) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        words = ("run", "-d", "--policy", "asking", "--approvals", "wait", "--", "python3", "-c", ASK)
        key = own.cli(*words).stdout.strip()
        asked = own.wait_for(key, "approval.asked")[-1]
        own.kill(DAEMON)
        own.answers()
        own.wait_for(key, "session.adopted")
        (still,) = own.json("approval", "ls", key, "--json")["approvals"]
        assert (still["id"], still["subject"]) == (asked["data"]["id"], "first.invalid:443")
        assert own.cli("approve", still["id"]).returncode == 0
        events = own.wait_for(key, "session.ended")
        assert_whole(events, "approval")
        assert "first.invalid could not be resolved" in output(events), "it was let pass, to where no test can go"
        assert [event["data"]["id"] for event in events if event["type"] == "approval.asked"] == [still["id"]]


@pytest.mark.engine
def test_last_words_of_a_sandbox_that_is_removed_while_nobody_looks_are_kept(docker_socket):
    """They are in the launcher's spool by then."""
    speak = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; sleep 60"
    with running_daemon(docker_socket, ELEAGENT_RUNTIME="docker") as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        key = own.cli("run", "-d", "--", "sh", "-c", speak).stdout.strip()
        before = output(own.wait_for(key, "output.text"))
        (daemon,), (parent,) = own.pids(DAEMON), own.parents()
        os.kill(daemon, signal.SIGSTOP)
        time.sleep(3)
        os.kill(parent, signal.SIGSTOP)
        try:
            own.kill(LAUNCHER)
            own.kill(DAEMON)
            command = ["docker", "-H", f"unix://{docker_socket}", "rm", "-f", f"eleagent-{key}-1"]
            subprocess.run(command, check=True, capture_output=True)
        finally:
            os.kill(parent, signal.SIGCONT)
        own.answers()
        events = own.wait_for(key, "session.ended")
        assert_whole(events, "removed")
        assert len(before.splitlines()) < 40
        assert output(events).splitlines() == [f"line {number}" for number in range(1, 41)]
        assert (events[-1]["data"]["state"], events[-1]["data"]["exit_code"]) == ("lost", 125)
        assert_nothing_left(own, docker_socket, "removed")
