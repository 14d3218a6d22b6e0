"""Is a hang told from work, by clocks that no one can set?"""

from __future__ import annotations

from eleagent_daemon.sessions.progress import Progress, RunClock


class Hands:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_run_clock_stands_still_while_paused_and_goes_on_from_before() -> None:
    hands = Hands()
    clock = RunClock(before=50.0, clock=hands)
    hands.now += 10
    clock.pause()
    hands.now += 1000
    clock.pause()
    assert (clock.seconds, clock.paused) == (60.0, True)
    clock.unpause()
    clock.unpause()
    hands.now += 5
    assert clock.seconds == 65.0
    assert RunClock(before=7.0, paused=True, clock=hands).seconds == 7.0


def idle_after(progress: Progress, hands: Hands, seconds: float, **seen: float | None) -> float:
    hands.now += seconds
    progress.look(**({"events": 1, "traffic": 0, "cpu_s": 0.0} | seen))  # type: ignore[arg-type]
    return progress.idle_s


def test_progress_is_an_event_traffic_or_cpu() -> None:
    hands = Hands()
    progress = Progress(clock=hands)
    assert idle_after(progress, hands, 10) == 0.0
    assert idle_after(progress, hands, 10) == 10.0
    assert idle_after(progress, hands, 10, events=2) == 0.0
    assert idle_after(progress, hands, 10, events=2, traffic=1) == 0.0
    assert idle_after(progress, hands, 10, events=2, traffic=1, cpu_s=1.0) == 0.0
    assert idle_after(progress, hands, 10, events=2, traffic=1, cpu_s=1.1) == 10.0, "1 % of a core is waiting"
    assert idle_after(progress, hands, 10, events=2, traffic=1, cpu_s=0.5) == 0.0, "one that had worked has ended"
    assert idle_after(progress, hands, 10, events=2, traffic=1, cpu_s=0.5) == 10.0, "and does nothing more"
    assert idle_after(progress, hands, 10, events=2, traffic=1, cpu_s=None) == 20.0
    progress.begin_anew()
    assert progress.idle_s == 0.0


def test_progress_of_a_session_that_was_adopted_is_not_judged_at_the_first_look() -> None:
    hands = Hands()
    progress = Progress(cpu_s=None, clock=hands)
    idle_after(progress, hands, 1, cpu_s=None)
    assert idle_after(progress, hands, 9, cpu_s=100.0) == 0.0
    assert idle_after(progress, hands, 9, cpu_s=100.0) == 9.0


def test_progress_is_not_what_we_told_ourselves() -> None:
    hands = Hands()
    progress = Progress(clock=hands)
    idle_after(progress, hands, 1)
    progress.told(2)
    assert idle_after(progress, hands, 9, events=2) == 9.0
