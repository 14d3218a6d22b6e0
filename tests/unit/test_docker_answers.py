"""Did a container end by itself, or with the engine that ran it?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eleagent.errors import EngineUnavailable
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.runtime.docker_answers import ended_with_engine
from eleagent_daemon.runtime.docker_engine import Engine

BEGAN = 1_800_000_000.0


def stamp(at: float) -> str:
    """As an engine writes it, with nanoseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S") + ".123456789Z"


@pytest.mark.parametrize(
    ("started", "finished", "with_it"),
    [
        pytest.param(-100, -2, True, id="its engine was stopped in order"),
        pytest.param(-100, 1, True, id="the next engine found it and ended it"),
        pytest.param(-100, 60, False, id="it outlived a restart with live-restore"),
        pytest.param(5, 6, False, id="the engine that answers ran it from its start"),
    ],
)
def test_end_with_the_engine_is_told_by_when_that_was_started(started: float, finished: float, with_it: bool) -> None:
    status = Status(Phase.EXITED, exit_code=137, started_at=stamp(BEGAN + started), finished_at=stamp(BEGAN + finished))
    assert ended_with_engine(status, BEGAN) is with_it
    assert not ended_with_engine(status, 0.0), "nobody knows"


def test_what_has_not_ended_did_not_end_with_the_engine() -> None:
    assert not ended_with_engine(Status(Phase.RUNNING, started_at=stamp(BEGAN - 9)), BEGAN)
    assert not ended_with_engine(Status(Phase.EXITED, exit_code=137), BEGAN)


LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
print(flush=True)
connection, _ = listener.accept()
connection.recv(99)
connection.send(b"HTTP/1.1 200 OK\\r\\n\\r\\nOK")
sys.stdin.readline()
listener.close()
print(flush=True)
sys.stdin.read()
"""


async def test_start_of_an_engine_is_that_of_the_process_that_listens(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    engine = Engine(socket=f"unix://{path}")
    with pytest.raises(EngineUnavailable, match="no container engine at"):
        await engine.began()
    before = time.time()
    words = [sys.executable, "-I", "-S", "-c", LISTEN, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == b"\n"
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        assert before - 2 * tick_s <= await engine.began() <= time.time()
        assert listening.stdin is not None
        listening.stdin.write(b"\n")
        listening.stdin.flush()
        assert listening.stdout.readline() == b"\n"
        with pytest.raises(EngineUnavailable, match="does not run"):  # what lives takes no new questions
            await engine.began()
        listening.communicate()
