"""Are many sessions at once each run once, and told truly, over a death of the daemon?"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from ..daemonfixture import running_daemon
from .faults import DAEMON, assert_nothing_left, assert_whole, output

SESSIONS = int(os.environ.get("ELEAGENT_TEST_SESSIONS", "10"))
"""All of them run at the same moment; 100 have been, on two cores."""

pytestmark = [pytest.mark.engine, pytest.mark.bubblewrap, pytest.mark.timeout(90 + 5 * SESSIONS)]


def test_many_sessions_at_once_over_a_death_of_the_daemon(docker_socket):
    settings = {
        "ELEAGENT_RUNTIME": "bubblewrap",
        "ELEAGENT_SESSION_SLOTS": str(SESSIONS),
        "ELEAGENT_SESSION_SLOTS_PER_USER": str(SESSIONS),
    }
    with running_daemon(docker_socket, **settings) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        command = ("run", "-d", "--disk", "64m", "--memory", "64m", "--", "sh", "-c", "echo up; exec sleep 3600")
        with ThreadPoolExecutor(4) as pool:
            keys = [done.stdout.strip() for done in pool.map(lambda _: own.cli(*command), range(SESSIONS))]
        assert len(set(keys)) == SESSIONS
        own.kill(DAEMON)
        own.answers()
        until = time.monotonic() + 60 + SESSIONS
        while (states := [one["state"] for one in own.json("ps", "--json")["sessions"]]) != ["running"] * SESSIONS:
            assert time.monotonic() < until, states
            time.sleep(0.2)
        timelines = {key: own.home / "artefacts" / "logs" / f"{key}.jsonl" for key in keys}
        while not all(b"output.text" in path.read_bytes() for path in timelines.values()):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert own.cli("stop", "--grace", "1", *keys, timeout=120).returncode == 0
        while own.json("ps", "--json")["sessions"]:
            assert time.monotonic() < until + 60 + SESSIONS
            time.sleep(0.5)
        for key, path in timelines.items():
            events = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
            assert_whole(events, key)
            assert (output(events), events[-1]["data"]["state"]) == ("up\n", "stopped")
        assert_nothing_left(own, docker_socket, "many")
