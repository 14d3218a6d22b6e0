"""Is what was being stopped, timed or queued when the daemon died still stopped, timed and queued?"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import msgspec
import pytest

from .faults import DAEMON, assert_nothing_left, assert_whole, output

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.parametrize("own", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True),
]

STUBBORN = "trap '' TERM; echo up; while :; do sleep 1; done"


def restart(own):
    """Kill the daemon and wait for the next one."""
    killed = own.kill(DAEMON)
    end = time.monotonic() + 30
    while killed in own.pids(DAEMON) or not own.pids(DAEMON):
        assert time.monotonic() < end
        time.sleep(0.05)
    own.answers()


def test_stop_is_finished_by_the_next_daemon(own, docker_socket):
    key = own.cli("run", "-d", "--", "sh", "-c", STUBBORN).stdout.strip()
    own.wait_for(key, "output.text")
    assert own.cli("stop", "--grace", "5", key).returncode == 0
    restart(own)
    events = own.wait_for(key, "session.ended")
    assert_whole(events, "stopped")
    assert (events[-1]["data"]["state"], events[-1]["data"]["exit_code"]) == ("stopped", 137)
    assert_nothing_left(own, docker_socket, "stopped")


def shift_start(own, key, by):
    """As if the clock had been set by so much while no daemon ran."""
    path = own.home / "artefacts" / "logs" / f"{key}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    (number,) = (one for one, line in enumerate(lines) if b'"type":"session.started"' in line)
    stamp = msgspec.json.decode(lines[number])["ts"]
    shifted = (datetime.fromisoformat(stamp) - by).isoformat(timespec="microseconds").replace("+00:00", "Z")
    lines[number] = lines[number].replace(stamp.encode(), shifted.encode())
    with path.open("r+b") as file:
        file.write(b"".join(lines))


def test_time_goes_on_where_it_was_over_a_death_whatever_the_clock_did(own):
    """What has run longer than it may ends at once; what began in the future has all of its time."""
    keys = []
    for _ in range(2):
        keys.append(own.cli("run", "-d", "--timeout", "1h", "--", "sh", "-c", STUBBORN).stdout.strip())
        own.wait_for(keys[-1], "output.text")
    own.stop()
    shift_start(own, keys[0], timedelta(hours=2))
    shift_start(own, keys[1], -timedelta(hours=2))
    own.start()
    events = own.wait_for(keys[0], "session.ended")
    assert (events[-1]["data"]["state"], events[-1]["data"]["exit_code"]) == ("timed_out", 124)
    own.wait_for(keys[1], "session.adopted")
    (left,) = own.json("ps", "--json")["sessions"]
    assert (left["key"], left["state"]) == (keys[1], "running")
    assert own.cli("stop", "--grace", "0", keys[1]).returncode == 0
    assert own.wait_for(keys[1], "session.ended")[-1]["data"]["state"] == "stopped"


def test_queue_keeps_its_order_over_a_death(own):
    own.stop()
    own.env["ELEAGENT_SESSION_SLOTS"] = "1"
    own.start()
    first = own.cli("run", "-d", "--", "sleep", "6").stdout.strip()
    rest = [own.cli("run", "-d", "--", "echo", str(number)).stdout.strip() for number in range(3)]
    places = {one["key"]: one["queue_position"] for one in own.json("ps", "--json")["sessions"]}
    assert [places[key] for key in rest] == [1, 2, 3]
    restart(own)
    assert own.cli("stop", rest[1]).returncode == 0
    stopped = own.wait_for(rest[1], "session.ended")
    assert "session.starting" not in [event["type"] for event in stopped], "what waits is cancelled at once"
    started = {}
    for key in (first, rest[0], rest[2]):
        events = own.wait_for(key, "session.ended", timeout=90)
        started[key] = next(event["ts"] for event in events if event["type"] == "session.started")
    assert sorted(started, key=started.__getitem__) == [first, rest[0], rest[2]]
    assert output(own.events(rest[2])) == "2\n"
