"""Is any accepted session forgotten, started twice, or told wrongly when the daemon dies at random moments?"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time

import pytest

from ..daemonfixture import Daemon, running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

WORDS = "echo started $$ $(date +%s%N); for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.02; done"
SESSIONS = 20
KILLS = 6


@pytest.mark.parametrize(
    "module", ["eleagent_daemon.main", "eleagent_daemon.launcher.main"], ids=["daemon", "launcher"]
)
def test_sessions_started_while_a_process_dies_again_and_again(docker_socket, module):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    with running_daemon(docker_socket) as own:
        names: list[str] = []
        kills = 0
        done = threading.Event()

        def killer() -> None:
            """At a random moment after all is up: one that is killed while it starts gets nowhere, which is no test."""
            nonlocal kills
            while not done.is_set():
                status = own.cli("status", "--json")
                if status.returncode == 0 and '"not reached"' not in status.stdout:
                    time.sleep(chance.uniform(0.0, 1.0))
                    with contextlib.suppress(ValueError, ProcessLookupError):
                        own.kill(module)
                        kills += 1

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            while len(names) < SESSIONS or kills < KILLS:
                names.append(create(own, f"n{len(names)}"))
                time.sleep(chance.uniform(0.0, 0.3))
        finally:
            done.set()
            thread.join()
        own.answers()
        for name in names:
            check(own, name, f"seed {seed}, {kills} kills")
        left = subprocess.run(
            [
                "docker", "-H", f"unix://{docker_socket}", "ps", "-aq",
                "--filter", f"label=io.eleagent.installation=test-{own.home.name}",
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert left.stdout == ""


def create(own: Daemon, name: str) -> str:
    """As a client that tries again under the same idempotency key until the daemon says yes."""
    until = time.monotonic() + 60
    while True:
        command = [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "-d", "-n", name, "--", "sh", "-c", WORDS]
        done = subprocess.run(
            command, env=own.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        # 2: the name is taken, so the session was accepted although the answer was lost.
        if done.returncode == 0 or (done.returncode == 2 and "name" in done.stderr):
            return name
        assert time.monotonic() < until, done.stderr
        time.sleep(0.1)


def check(own: Daemon, name: str, about: str) -> None:
    events = own.wait_for(name, "session.ended", timeout=120)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), about
    assert [event["type"] for event in events].count("session.ended") == 1, about
    text = "".join(event["data"]["text"] for event in events if event["type"] == "output.text")
    assert text.count("started ") == 1, f"{about}: {text} {events}"
    assert text.splitlines()[1:] == [f"line {number}" for number in range(1, 11)], f"{about}: {text}"
    assert events[-1]["data"]["state"] == "succeeded", f"{about}: {events[-1]}"
    released = [event["seq"] for event in events if event["type"] == "session.started"]
    attested = [event["seq"] for event in events if event["type"] == "sandbox.attested"]
    assert len(released) == 1, about
    assert attested[0] < released[0], about
