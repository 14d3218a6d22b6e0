"""Does a paused session stand still, whoever dies meanwhile, and go on where it was?"""

from __future__ import annotations

import time

import pytest

from ..daemonfixture import running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

TICKS = "i=0; while [ $i -lt {}  ]; do i=$((i+1)); echo tick $i; sleep 0.05; done"


def test_paused_session_outlives_both_processes_and_goes_on_with_its_time(docker_socket):
    with running_daemon(docker_socket) as own:
        key = own.cli("run", "-d", "--timeout", "20", "--", "sh", "-c", TICKS.format(60)).stdout.strip()
        own.wait_for(key, "output.text")
        assert "paused" in own.cli("session", "pause", key, "--reason", "lunch").stdout
        again = own.cli("session", "pause", key)
        assert again.returncode == 0
        still = len(own.events(key))
        for module in ("eleagent_daemon.main", "eleagent_daemon.launcher.main"):
            own.kill(module)
            time.sleep(1)
            own.answers()
        session = own.json("session", "show", key, "--json")["session"]
        assert (session["state"], session["paused_by"]) == ("paused", ["person"])
        time.sleep(3)
        events = own.events(key)
        assert [event["type"] for event in events[still:] if event["type"] == "output.text"] == []
        assert own.cli("session", "unpause", key).returncode == 0
        events = own.wait_for(key, "session.ended")
        text = "".join(event["data"]["text"] for event in events if event["type"] == "output.text")
        assert text == "".join(f"tick {number}\n" for number in range(1, 61))
        assert events[-1]["data"]["state"] == "succeeded"
        pauses = [event["data"] for event in events if event["type"] in ("session.paused", "session.unpaused")]
        assert [(one["hold"], one.get("detail"), one.get("running")) for one in pauses] == [
            ("person", "lunch", None), ("person", None, True),
        ]  # fmt: skip
        assert own.cli("session", "unpause", key).returncode == 2


def test_paused_session_can_be_stopped_and_its_time_does_not_run(daemon):
    key = daemon.cli("run", "-d", "--timeout", "3", "--", "sh", "-c", TICKS.format(9999)).stdout.strip()
    daemon.wait_for(key, "output.text")
    assert daemon.cli("session", "pause", key).returncode == 0
    time.sleep(3.5)
    assert daemon.json("session", "show", key, "--json")["session"]["state"] == "paused"
    assert daemon.cli("stop", key).returncode == 0
    ended = daemon.wait_for(key, "session.ended")[-1]["data"]
    assert (ended["state"], ended["exit_code"]) == ("stopped", 137)
