"""What becomes of a session when the engine itself is killed and started again, with and without live-restore?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import running_daemon
from .faults import assert_nothing_left, assert_whole, output
from .ownengine import Engine, own_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

LINES = 120
COUNT = f"echo kept > /artefacts/a; i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.05; done"


@pytest.fixture
def engine(docker_socket: str) -> Iterator[Engine]:
    """One that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="eleagent-test-engine-"))
    try:
        with own_engine(docker_socket, folder) as started:
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_session_over_an_engine_that_is_killed_and_comes_back(engine):
    with running_daemon(engine.socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        ended = {}
        for live_restore in (False, True):
            engine.restart(live_restore=live_restore)
            key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
            own.wait_for(key, "output.text")
            engine.kill()
            assert own.cli("ps").returncode == 0, "the daemon answers without an engine"
            engine.start()
            events = own.wait_for(key, "session.ended", timeout=90)
            assert_whole(events, "engine")
            lines = output(events).splitlines()
            assert lines == [f"line {number}" for number in range(1, len(lines) + 1)], "in order, nothing twice"
            stored = [event["data"]["path"] for event in events if event["type"] == "artefact.stored"]
            assert stored == ["a"], "what it left is kept, however it ended"
            ended[live_restore] = (events[-1]["data"]["state"], events[-1]["data"]["exit_code"], len(lines) == LINES)
            assert ("restarted" in events[-1]["data"]["detail"]) is not live_restore
        assert engine.kills == 2, "each fault was really injected"
        assert ended == {False: ("lost", 125, False), True: ("succeeded", 0, True)}
        assert_nothing_left(own, engine.socket, "engine")
