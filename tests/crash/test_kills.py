"""Is any accepted session forgotten, run twice, or told wrongly when a process dies at random moments?"""

from __future__ import annotations

import random

import pytest

from .faults import DAEMON, KILLS, LAUNCHER, Killer, assert_nothing_left, assert_whole, create, doors, output

pytestmark = pytest.mark.timeout(120 + 30 * KILLS)

LINES = 30
STREAM = f"echo started $$ $(date +%s%N); i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; sleep 0.03; done"
LEAST = 8
"""Sessions at least, however few the kills are."""


@pytest.mark.parametrize("module", [DAEMON, LAUNCHER], ids=["daemon", "launcher"])
def test_sessions_under_a_process_that_dies_again_and_again_are_each_run_once_and_whole(
    own, docker_socket, module, capsys
):
    seed = random.randrange(1 << 30)
    killer = Killer(own=own, module=module, chance=random.Random(seed))
    names: list[str] = []
    with killer.at_work():
        while len(names) < LEAST or len(killer.killed) < KILLS:
            names.append(f"n{len(names)}")
            code = len(names) % 3
            create(own, names[-1], "--", "sh", "-c", f"{STREAM}; echo made > /artefacts/a; exit {code}")
    assert len(killer.killed) >= KILLS > 0, "each fault was really injected"
    own.answers()
    about = f"seed {seed}, {len(killer.killed)} kills of {module}"
    for number, name in enumerate(names, 1):
        events = own.wait_for(name, "session.ended", timeout=180)
        assert_whole(events, f"{about}, {name}")
        text = output(events)
        assert text.count("started ") == 1, f"{about}, {name}: {text}"
        assert text.splitlines()[1:] == [f"line {one}" for one in range(1, LINES + 1)], f"{about}, {name}: {text}"
        ended = events[-1]["data"]
        wanted = ("failed", number % 3) if number % 3 else ("succeeded", 0)
        assert (ended["state"], ended["agent_exit_code"]) == wanted, f"{about}, {name}: {ended}"
        assert [event["data"]["path"] for event in events if event["type"] == "artefact.stored"] == ["a"], about
    assert own.json("ps", "--json")["sessions"] == [], about
    assert_nothing_left(own, docker_socket, about)
    for one in (DAEMON, LAUNCHER):
        assert doors(own, one) == 0, f"{about}: {one} holds doors of sessions that are over"
    with capsys.disabled():
        print(f"\n{own.env['ELEAGENT_RUNTIME']}: {about}; {len(names)} sessions, each whole and told truly")


def test_doors_of_a_session_that_runs_are_counted(own):
    """Else the count after the kills would prove nothing."""
    create(own, "open", "--", "sleep", "30")
    own.wait_for("open", "session.started")
    assert (doors(own, LAUNCHER), doors(own, DAEMON)) == (3, 3), "tunnel, model and the session's own, in both hands"
