"""What becomes of a session when daemon or launcher dies under it?"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from eleagent_daemon.runtime import processes

from ..daemonfixture import Daemon, running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

COUNT = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.01; done"
WANTED = "".join(f"line {number}\n" for number in range(1, 401))
DAEMON = "eleagent_daemon.main"
LAUNCHER = "eleagent_daemon.launcher.main"


@pytest.fixture
def own(docker_socket, runtime):
    with running_daemon(docker_socket, ELEAGENT_RUNTIME=runtime) as started:
        assert started.cli("image", "build", "command", timeout=110).returncode == 0
        yield started


def output(events) -> str:
    return "".join(event["data"]["text"] for event in events if event["type"] == "output.text")


def assert_whole(own: Daemon, key: str) -> None:
    """Every line once, in order, every seq once, and the true end."""
    events = own.wait_for(key, "session.ended", timeout=90)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert output(events) == WANTED
    assert (events[-1]["data"]["state"], events[-1]["data"]["exit_code"]) == ("succeeded", 0)


@pytest.mark.parametrize(
    "victims",
    [[DAEMON], [LAUNCHER], [DAEMON, LAUNCHER], [DAEMON, DAEMON]],
    ids=lambda v: "+".join(one.split(".")[1] for one in v),
)
def test_session_goes_on_when_a_process_is_killed(own, victims):
    key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
    own.wait_for(key, "output.text")
    for victim in victims:
        killed = own.kill(victim)
        end = time.monotonic() + 30
        while killed in own.pids(victim) or not own.pids(victim):
            assert time.monotonic() < end
            time.sleep(0.05)
        own.answers()
    assert_whole(own, key)


def test_follower_reads_on_when_the_daemon_is_killed(own):
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "-q", "--", "sh", "-c", COUNT],
        env=own.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    own.kill(DAEMON)
    out, err = process.communicate(timeout=90)
    assert first + out == WANTED, err
    assert process.returncode == 0


def test_session_that_ended_without_a_daemon_is_finished_by_the_next(own):
    key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
    own.wait_for(key, "output.text")
    own.stop()
    time.sleep(6)
    own.start()
    assert_whole(own, key)


def test_sigterm_leaves_the_sandbox_running(own):
    key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
    own.wait_for(key, "output.text")
    own.stop()
    assert own.pids(DAEMON) == []
    assert own.pids(LAUNCHER) != []
    own.start()
    assert_whole(own, key)


def test_sandbox_killed_behind_our_back_is_told_truly(own, runtime):
    key = own.cli("run", "-d", "--", "sleep", "300").stdout.strip()
    own.wait_for(key, "session.started")
    detail = own.json("session", "show", key, "--json")
    os.kill(detail["report"]["binding"]["pid"], signal.SIGKILL)
    events = own.wait_for(key, "session.ended")
    assert (events[-1]["data"]["state"], events[-1]["data"]["agent_exit_code"]) == ("failed", 137)


def test_end_that_nobody_saw_is_told_as_lost(own, runtime):
    """The process that holds a sandbox's pipes takes the sandbox with it, and how that ended with itself."""
    if runtime != "bubblewrap":
        pytest.skip("an engine keeps the end")
    key = own.cli("run", "-d", "--", "sleep", "300").stdout.strip()
    own.wait_for(key, "session.started")
    init = own.json("session", "show", key, "--json")["report"]["binding"]["pid"]
    words = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    (holder,) = (pid for pid, line in words.items() if b"holder.py" in line and key.encode() in line)
    os.kill(int(holder), signal.SIGKILL)
    ended = own.wait_for(key, "session.ended")[-1]["data"]
    assert (ended["state"], ended["reason"]) == ("lost", "lost")
    assert "nobody knows how it ended" in ended["detail"]
    assert not processes.is_there(init)
