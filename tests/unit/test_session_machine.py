"""Does any order of creating, stopping, pausing, killing and dying leave each session told once and truly?"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from eleagent.errors import Conflict, Unavailable
from eleagent.wire.limits import LimitsUpdate
from eleagent.wire.sessions import SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.runtime.fake import FakeEngine
from eleagent_daemon.sessions import runner as runner_module
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.store.registry import Registry

from .fakedaemon import CALLER, INSTALLATION, SLOTS, Daemon
from .fakelauncher import FakeLauncher

pytestmark = pytest.mark.timeout(600)


class SessionMachine(RuleBasedStateMachine):
    """`stopped`, `killed`: what was done to each session, which says how it may end."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="eleagent-machine-"))
        (self.folder / "engine").mkdir()
        self.pool = ThreadPoolExecutor(2)
        self.engine = FakeEngine(self.folder / "engine", images={"image"})
        self.launcher = FakeLauncher(engine=self.engine, installation=INSTALLATION)
        self.registry = self.run(Registry.open(self.folder / "registry.db"))
        self.made: list[str] = []
        self.stopped: set[str] = set()
        self.killed: set[str] = set()
        self.codes: dict[str, int | None] = {}
        self.deaths = 0
        self.daemon = self.begin()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def begin(self) -> Daemon:
        async def start() -> Daemon:
            daemon = Daemon(registry=self.registry, folder=self.folder, launcher=self.launcher, pool=self.pool)
            await daemon.sessions.reconciler.begin()
            return daemon

        return cast(Daemon, self.run(start()))

    @rule(target=keys, user=st.sampled_from(["ada", "bob"]), code=st.sampled_from([None, 0, 3]))
    def create(self, user: str, code: int | None) -> str:
        argv = ["sleep", "500"] if code is None else ["sh", "-c", f"exit {code}"]
        by = Starter(identity=CALLER, owner=user)
        work = self.daemon.sessions.create(SessionCreate(agent="command", argv=argv), by=by)
        key = str(self.run(work).key)
        self.made.append(key)
        self.codes[key] = code
        return key

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(key=keys)
    def stop(self, key: str) -> None:
        self.stopped.add(key)  # also where it is refused, since it has just ended: how it ends is open then
        try:
            self.run(self.daemon.sessions.stop(key, by="ada", grace_s=0))
        except (Conflict, Unavailable):
            return

    @rule(key=keys)
    def pause(self, key: str) -> None:
        try:
            self.run(self.daemon.sessions.pause(key, by="ada", detail=""))
        except (Conflict, Unavailable):
            return

    @rule(key=keys)
    def unpause(self, key: str) -> None:
        try:
            self.run(self.daemon.sessions.unpause(key, by="ada"))
        except (Conflict, Unavailable):
            return

    @rule(key=keys)
    def change_limits(self, key: str) -> None:
        try:
            self.run(self.daemon.sessions.set_limits(key, LimitsUpdate(max_turns=7), by="ada"))
        except (Conflict, Unavailable):
            return

    @rule(key=keys)
    def kill_the_sandbox_behind_our_back(self, key: str) -> None:
        if self.run(self.launcher.kill_behind_our_back(key)):
            self.killed.add(key)

    @rule()
    def reconcile(self) -> None:
        try:
            self.run(self.daemon.sessions.reconciler.reconcile())
        except Unavailable:
            return

    @rule(down=st.booleans())
    def engine_goes_or_comes_back(self, down: bool) -> None:
        self.engine.down = down

    @rule(verbs=st.integers(1, 4))
    def launcher_dies_over_the_next(self, verbs: int) -> None:
        self.launcher.deaf = verbs

    @rule()
    def daemon_dies_and_the_next_takes_up(self) -> None:
        self.run(self._die())
        self.deaths += 1
        self.daemon = self.begin()

    @rule(key=consumes(keys))
    def forget_to_ask_about(self, key: str) -> None:
        """It goes on by itself."""

    @invariant()
    def no_more_run_than_there_are_slots(self) -> None:
        live = self.run(self.registry.live())
        working = [one for one in live if one.session.state is not State.QUEUED]
        assert self.deaths or len(working) <= SLOTS

    def state(self, key: str) -> State:
        return cast(State, self.run(self.registry.get(key)).session.state)

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.run(self._die())
            for name in list(self.engine.held):
                self.run(self.launcher.runtime.remove(name))
            self.run(self.registry.close())
            self.pool.shutdown()
            self.loop.close()
            shutil.rmtree(self.folder)

    def finish(self) -> None:
        """Stop what still lives, and look at every timeline."""
        self.launcher.deaf, self.engine.down = 0, False
        for key in self.made:
            if not self.state(key).ended:
                self.stop(key)
        self.run(self._until_over())
        self.run(self.daemon.sessions.reconciler.reconcile())
        for key in self.made:
            session = self.run(self.registry.get(key)).session
            lines = self.daemon.timelines.path(key).read_bytes().splitlines()
            events = [msgspec.json.decode(line) for line in lines]
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            types = [event["type"] for event in events]
            assert types.count("session.created") == types.count("session.ended") == 1, types
            assert types[-1] == "session.ended"
            assert types.count("session.started") <= 1, "an agent is never run twice"
            assert events[-1]["data"]["state"] == session.state
            if session.reason == "engine_unavailable":
                assert "session.started" not in types, "an engine that is away takes no session along"
            else:
                self.judge(key, session.state, events[-1]["data"].get("agent_exit_code"))
        assert self.engine.held == {}, "no sandbox outlives its session"

    def judge(self, key: str, state: State, code: int | None) -> None:
        wanted = self.codes[key]
        if key not in self.stopped | self.killed:
            assert (state, code) == (State.FAILED if wanted else State.SUCCEEDED, wanted)
        elif key not in self.stopped:
            assert state in (State.FAILED, State.SUCCEEDED)
        else:
            assert state in (State.STOPPED, State.FAILED, State.SUCCEEDED)

    async def _die(self) -> None:
        """What a killed one was just writing is written, or not, before the next one begins."""
        await self.daemon.supervisor.close()
        for key in self.made:
            timeline = self.daemon.timelines.find_open(key)
            self.daemon.timelines.close(key)
            while timeline is not None and timeline._log._writing:
                await asyncio.sleep(0.001)

    async def _until_over(self) -> None:
        while await self.registry.live():
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing tells of an end here: it is asked for often."""
    monkeypatch.setattr(runner_module, "POLL_S", 0.02)
    monkeypatch.setattr(runner_module, "AWAY_S", 0.02)
    with caplog.at_level(logging.ERROR):
        yield
    faults = [record.getMessage() for record in caplog.records if record.exc_info]
    assert faults == [], "a fault of ours was caught and logged"


def test_sessions_whatever_happens_in_whatever_order() -> None:
    SessionMachine.TestCase.settings = settings(
        max_examples=10,
        stateful_step_count=20,
        deadline=None,
        phases=[Phase.generate],  # a moment is not found again by making the way to it shorter
        suppress_health_check=list(HealthCheck),
    )
    SessionMachine.TestCase().runTest()
