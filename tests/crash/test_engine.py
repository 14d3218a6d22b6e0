"""What becomes of a session when engine and daemon are killed and come back, with and without live-restore?"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import Daemon, running_daemon
from .faults import DAEMON, LAUNCHER, assert_nothing_left, assert_whole, output
from .ownengine import Engine, own_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

COUNT = "echo kept > /artefacts/a; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done"


@pytest.fixture
def engine(docker_socket: str) -> Iterator[Engine]:
    """One that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="eleagent-test-engine-"))
    try:
        with own_engine(docker_socket, folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_session_over_an_engine_and_a_daemon_that_are_killed_and_come_back(engine):
    with running_daemon(engine.socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        for live_restore in (False, True):
            if engine.live_restore is not live_restore:
                engine.restart(live_restore=live_restore)
            key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
            own.wait_for(key, "output.text")
            engine.kill()
            own.kill(DAEMON)
            own.answers()
            engine.start()
            if live_restore:
                (adopted,) = [one for one in own.wait_for(key, "session.adopted") if one["type"] == "session.adopted"]
                assert adopted["data"]["attested"], "as soon as the engine is there to ask"
                assert own.cli("stop", "--grace", "0", key).returncode == 0
            events = own.wait_for(key, "session.ended", timeout=90)
            assert_whole(events, "engine")
            ended = events[-1]["data"]
            assert (ended["state"], ended["exit_code"]) == (("stopped", 137) if live_restore else ("lost", 125)), ended
            assert ("restarted" in ended["detail"]) is not live_restore
            lines = output(events).splitlines()
            assert lines == [f"line {number}" for number in range(1, len(lines) + 1)], "in order, nothing twice"
            stored = [event["data"]["path"] for event in events if event["type"] == "artefact.stored"]
            assert stored == ["a"], "what it left is kept, however it ended"
        assert engine.kills == 2, "each fault was really injected"
        assert_nothing_left(own, engine.socket, "engine")


def assert_told_as_the_engines(own: Daemon, engine: Engine, key: str) -> None:
    """The end of a session, which was nobody's but the engine's; nothing is left of it."""
    events = own.wait_for(key, "session.ended", timeout=90)
    assert_whole(events, "engine")
    ended = events[-1]["data"]
    assert (ended["state"], ended["exit_code"], ended.get("agent_exit_code")) == ("lost", 125, None), ended
    assert "restarted" in ended["detail"]
    assert_nothing_left(own, engine.socket, "engine")


@pytest.mark.parametrize("in_order", [False, True], ids=["killed", "stopped"])
def test_engine_that_ends_a_session_while_nobody_looks_is_told_as_its_end(engine, in_order):
    """Launcher and daemon die with it, and meet only the engine that came after it."""
    with running_daemon(engine.socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
        own.wait_for(key, "output.text")
        (parent,) = own.parents()
        os.kill(parent, signal.SIGSTOP)
        try:
            own.kill(DAEMON)
            own.kill(LAUNCHER)
            if in_order:
                engine.restart(live_restore=False)
            else:
                engine.kill()
                engine.start()
        finally:
            os.kill(parent, signal.SIGCONT)
        own.answers()
        assert_told_as_the_engines(own, engine, key)


def test_engine_that_is_stopped_in_order_under_a_session_is_told_as_its_end(engine):
    """Under the eyes of launcher and daemon, whose question it answers before it goes."""
    with running_daemon(engine.socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
        own.wait_for(key, "output.text")
        engine.restart(live_restore=False)
        assert_told_as_the_engines(own, engine, key)
