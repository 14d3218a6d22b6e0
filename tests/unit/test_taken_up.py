"""What becomes of a session that an earlier daemon left at one of its delicate moments?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import Conflict
from eleagent.wire.events import (
    Payload,
    SandboxExited,
    SessionCreated,
    SessionEnded,
    SessionPaused,
    SessionStarted,
    SessionStopping,
)
from eleagent.wire.limits import LimitsUpdate
from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.spool import Stream, spool_folder
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.runtime.fake import FakeEngine
from eleagent_daemon.sessions import ending
from eleagent_daemon.sessions import runner as runner_module
from eleagent_daemon.store.registry import Registry
from eleagent_daemon.store.timeline import Timelines

from .fakedaemon import CALLER, INSTALLATION, Daemon
from .fakelauncher import FakeLauncher

CREATED = SessionCreated(agent="command", owner="ada", policy="model-only", runtime="docker", argv=["true"])
ENDED = SessionEnded(state=State.STOPPED, reason="stopped", exit_code=137)
BEGAN = "2026-01-01T00:00:00Z"


class Lab:
    """A registry and timelines as an earlier daemon left them, and the next daemon."""

    def __init__(self, folder: Path, registry: Registry, pool: ThreadPoolExecutor) -> None:
        self.folder, self.registry, self.pool = folder, registry, pool
        self.daemon: Daemon
        (folder / "engine").mkdir()
        engine = FakeEngine(folder / "engine", images={"image"})
        self.launcher = FakeLauncher(engine=engine, installation=INSTALLATION)

    async def left(self, *told: Payload, states: tuple[State, ...] = (), **changes: Any) -> str:
        new = Session(
            key="", name="", state=State.QUEUED, agent="command", owner="ada", created=BEGAN, policy="model-only"
        )
        record, _ = await self.registry.create_session(new, SessionCreate(argv=["true"]), CALLER, token=None)
        session = record.session
        for state in states:
            session = msgspec.structs.replace(session, state=state, **changes)
            await self.registry.update(session, attempt=1)
        timelines = Timelines(folder=self.folder, pool=self.pool)
        timeline = await timelines.open(session.key)
        await timeline.append(CREATED, *told)
        timelines.close(session.key)
        return session.key

    async def begin(self, *, slots: int = 1) -> None:
        self.daemon = Daemon(
            registry=self.registry, folder=self.folder, launcher=self.launcher, pool=self.pool, slots=slots
        )
        await self.daemon.sessions.reconciler.begin()

    async def over(self, key: str) -> list[dict[str, Any]]:
        """Its timeline, once the registry has its end."""
        async with asyncio.timeout(5):
            while not (await self.registry.get(key)).session.state.ended:
                await asyncio.sleep(0.01)
        return [msgspec.json.decode(line) for line in self.daemon.timelines.path(key).read_bytes().splitlines()]


@pytest.fixture
async def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(runner_module, "POLL_S", 0.02)  # nothing tells of an end here
    registry = await Registry.open(tmp_path / "registry.db")
    with ThreadPoolExecutor(2) as pool:
        made = Lab(tmp_path, registry, pool)
        try:
            yield made
            await made.daemon.supervisor.close()
        finally:
            await registry.close()


WISHES: dict[str, Callable[[Any, str], Any]] = {
    "limits": lambda sessions, key: sessions.set_limits(key, LimitsUpdate(max_turns=7), by="ada"),
    "stop": lambda sessions, key: sessions.stop(key, by="ada", grace_s=0),
    "pause": lambda sessions, key: sessions.pause(key, by="ada", detail=""),
    "unpause": lambda sessions, key: sessions.unpause(key, by="ada"),
    "handover": lambda sessions, key: sessions.hand_over(key, "bob", by="ada", may_take=True),
    "say": lambda sessions, key: sessions.say(key, "hello", by="ada", lease=None),
}


@pytest.mark.parametrize("states", [(), (State.STARTING, State.RUNNING)], ids=["queued", "running"])
async def test_nothing_is_told_after_an_end_that_the_registry_has_not(lab: Lab, states: tuple[State, ...]) -> None:
    key = await lab.left(ENDED, states=states)
    await lab.begin(slots=0)
    for wish in WISHES.values():
        with pytest.raises(Conflict):
            await wish(lab.daemon.sessions, key)
    assert [event["type"] for event in await lab.over(key)] == ["session.created", "session.ended"]
    assert (await lab.registry.get(key)).session.state is State.STOPPED


async def test_one_that_was_stopped_in_the_queue_waits_for_no_slot(lab: Lab) -> None:
    key = await lab.left(SessionStopping(reason="stopped", by_user="ada"))
    await lab.begin(slots=0)
    assert [event["type"] for event in await lab.over(key)][-2:] == ["session.stopping", "session.ended"]
    assert (await lab.registry.get(key)).session.state is State.STOPPED


async def test_session_that_is_being_ended_does_not_go_on(lab: Lab) -> None:
    """One that was paused is still held while it is stopped."""
    told = (
        SessionStarted(),
        SessionPaused(hold="person", by_user="ada"),
        SessionStopping(reason="stopped", by_user="ada"),
    )
    states = (State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING)
    key = await lab.left(*told, states=states, started=BEGAN, paused_by=["person"])
    await lab.begin()
    with pytest.raises(Conflict, match="already being ended: stopped"):
        await lab.daemon.sessions.unpause(key, by="ada")
    assert "session.unpaused" not in [event["type"] for event in await lab.over(key)]


async def test_last_words_of_a_sandbox_that_is_gone_are_read_before_it_is_lost(lab: Lab) -> None:
    key = await lab.left(SessionStarted(), states=(State.STARTING, State.RUNNING), started=BEGAN)
    spool_folder(lab.folder, key).parent.mkdir(parents=True)
    writer = SpoolWriter(folder=spool_folder(lab.folder, key), group=os.getgid())
    for words in (b"last ", b"words\n"):
        writer.append(Stream.OUT, words)
    writer.close()
    await lab.begin()
    events = await lab.over(key)
    assert "".join(event["data"]["text"] for event in events if event["type"] == "output.text") == "last words\n"
    ended = events[-1]["data"]
    assert (events[-1]["type"], ended["state"], ended["reason"]) == ("session.ended", "lost", "lost")


@pytest.mark.parametrize("removals", [3, 99])
async def test_mount_that_stays_holds_up_no_end(lab: Lab, monkeypatch: pytest.MonkeyPatch, removals: int) -> None:
    monkeypatch.setattr(ending, "RETRY_S", 0.01)
    lab.launcher.mounted = removals
    told = (SessionStarted(), SandboxExited(exit_code=3, oom=False))
    key = await lab.left(*told, states=(State.STARTING, State.RUNNING), started=BEGAN)
    await lab.begin()
    events = await lab.over(key)
    assert (events[-1]["data"]["state"], events[-1]["data"]["agent_exit_code"]) == ("failed", 3)
    assert removals - lab.launcher.mounted == min(removals, ending.UNMOUNT_TRIES)
