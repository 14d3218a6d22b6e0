"""Is what a session left kept, though the launcher is killed each time that it is at collecting it?"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .faults import LAUNCHER, assert_nothing_left, assert_whole

pytestmark = pytest.mark.timeout(150)

KILLS = 3
SIZE = 1 << 30
LEAVE = f"echo kept > /artefacts/a; truncate -s {SIZE} /artefacts/hole"
"""The hole takes no room, and its digest takes so long that a kill comes before its end."""


def test_artefacts_outlive_a_launcher_that_dies_over_their_collection_again_and_again(own, docker_socket):
    key = own.cli("run", "-d", "--", "sh", "-c", LEAVE).stdout.strip()
    folder = own.home / "artefacts" / "sessions" / key
    begun: set[str] = set()
    for _ in range(KILLS):
        until = time.monotonic() + 60
        while not (new := {path.name for path in folder.glob("partial-*")} - begun):
            assert time.monotonic() < until, own.log()[-4000:]
            time.sleep(0.01)
        begun |= new
        own.kill(LAUNCHER)
        assert not (folder / "manifest.json").exists(), "it was killed at the collection, not after it"
    events = own.wait_for(key, "session.ended")
    assert_whole(events, "collection")
    stored = {
        event["data"]["path"]: event["data"]["size_bytes"] for event in events if event["type"] == "artefact.stored"
    }
    assert stored == {"a": 5, "hole": SIZE}
    assert (events[-1]["data"]["state"], events[-1]["data"]["artefacts"]) == ("succeeded", 2)
    assert "artefacts.skipped" not in {event["type"] for event in events}
    assert sorted(path.name for path in folder.iterdir()) == ["files", "manifest.json"]
    assert own.cli("artefact", "cat", key, "a").stdout == "kept\n"
    assert_nothing_left(own, docker_socket, "collection")


def test_session_that_is_stopped_while_its_files_are_collected_ends_as_it_ended(own, docker_socket):
    key = own.cli("run", "-d", "--", "sh", "-c", f"truncate -s {4 * SIZE} /artefacts/hole; exit 3").stdout.strip()
    folder = own.home / "artefacts" / "sessions" / key
    until = time.monotonic() + 60
    while not list(folder.glob("partial-*")):
        assert time.monotonic() < until, own.log()[-4000:]
        time.sleep(0.01)
    verbs = (["stop"], ["session", "pause"], ["session", "unpause"])
    with ThreadPoolExecutor() as together:  # so that all are asked before the collection's end
        answers = list(together.map(lambda verb: own.cli(*verb, key), verbs))
    for done in answers:
        assert (done.returncode, "is over" in done.stderr) == (2, True), done
    assert not (folder / "manifest.json").exists(), "it was at the collection all the time"
    assert own.cli("wait", key).returncode == 3
    events = own.events(key)
    assert_whole(events, "stopped at its end")
    assert (events[-1]["data"]["state"], events[-1]["data"]["artefacts"]) == ("failed", 1)
    assert_nothing_left(own, docker_socket, "stopped at its end")
