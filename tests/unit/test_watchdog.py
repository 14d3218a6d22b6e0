"""Does the launcher pause sandboxes exactly when what they do can't be recorded?"""

from __future__ import annotations

import asyncio

import pytest

from eleagent_daemon.domain.launch import Heartbeat
from eleagent_daemon.launcher import heartbeat
from eleagent_daemon.launcher.heartbeat import SILENCE_S, Watchdog

GRACE_S = 10.0


class Scene:
    def __init__(self) -> None:
        self.at = 100.0
        self.connected = True
        self.watchdog = Watchdog(connected=lambda: self.connected, pause_all=self.pause, clock=lambda: self.at)

    async def pause(self, reason: str) -> bool:
        raise AssertionError(reason)

    def beat(self, *, recording: bool = True, on_loss: bool = False) -> None:
        self.watchdog.beat(Heartbeat(recording=recording, grace_s=GRACE_S, pause_on_loss=on_loss))

    def after(self, seconds: float) -> str:
        self.at += seconds
        return self.watchdog.why()


def test_watchdog_waits_for_no_daemon_that_never_beat() -> None:
    assert Scene().after(1e6) == ""


def test_watchdog_pauses_when_the_daemon_cannot_record() -> None:
    scene = Scene()
    scene.beat()
    assert scene.after(1) == ""
    scene.beat(recording=False)
    assert scene.after(GRACE_S - 1.5) == ""
    scene.beat(recording=False)
    assert scene.after(1) == "eleagentd can't record"
    scene.beat()
    assert scene.after(1) == ""


def test_watchdog_pauses_when_a_connected_daemon_says_nothing() -> None:
    scene = Scene()
    scene.beat()
    assert scene.after(SILENCE_S + GRACE_S) == ""
    assert scene.after(0.1) == "eleagentd says nothing"


@pytest.mark.parametrize("pause_on_loss", [False, True])
def test_watchdog_does_what_the_operator_said_when_the_daemon_is_gone(pause_on_loss: bool) -> None:
    scene = Scene()
    scene.beat(on_loss=pause_on_loss)
    scene.connected = False
    assert scene.after(SILENCE_S + GRACE_S) == ""
    assert bool(scene.after(1)) is pause_on_loss


def test_watchdog_goes_on_from_a_daemon_that_left_while_it_could_not_record() -> None:
    scene = Scene()
    scene.beat(recording=False)
    scene.connected = False
    assert scene.after(GRACE_S + 1) == "eleagentd can't record"


async def test_watchdog_tries_at_once_again_what_it_could_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.001)
    tried: list[str] = []
    at = 0.0

    async def pause(reason: str) -> bool:
        tried.append(reason)
        return len(tried) == 3

    watchdog = Watchdog(connected=lambda: True, pause_all=pause, clock=lambda: at)
    watchdog.beat(Heartbeat(recording=True, grace_s=0, pause_on_loss=True))
    at = SILENCE_S + 1
    running = asyncio.create_task(watchdog.run())
    await asyncio.sleep(0.5)
    running.cancel()
    assert tried == ["eleagentd says nothing"] * 3, "a third time it could, and waits long before it looks again"
