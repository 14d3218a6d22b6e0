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

from eleagent.errors import Conflict, CredentialMissing, Unavailable
from eleagent.wire.limits import LimitsUpdate, SessionLimits
from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.launch import ImageFacts
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.domain.policy import BUILT_IN
from eleagent_daemon.domain.sandbox import Ceilings, Limits, Mode
from eleagent_daemon.gateway.record import SessionView
from eleagent_daemon.runtime.fake import FakeEngine
from eleagent_daemon.sessions import runner as runner_module
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.digest import Digest
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.keeper import Rules
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.registry import CallerIdentity, Registry
from eleagent_daemon.store.timeline import Timelines
from eleagent_daemon.store.usage import UsageStore

from .fakelauncher import FakeLauncher

pytestmark = pytest.mark.timeout(600)

CALLER = CallerIdentity(uid=0, gid=0, groups=[])
INSTALLATION = "machine"
SLOTS = 3


class NoModel:
    def check(self, terms: object) -> str:
        raise CredentialMissing("none")

    async def open(self, *given: object) -> Any:
        return Doors()


class Doors:
    def __init__(self) -> None:
        self.model = SessionView()

    async def close(self) -> None:
        return


class Silent:
    """What the audit log is told."""

    async def starting(self, live: object, *, attempt: int) -> int:
        return 1

    async def started(self, live: object, intent: int, outcome: str) -> None:
        return

    async def ended(self, live: object, ended: object) -> None:
        return

    def digest(self) -> Digest:
        return Digest(seal=str)

    async def observed(self, live: object, records: object) -> None:
        return


class Kept:
    """For ever."""

    def announced(self, session: Session) -> Session:
        return session


class Catalogue:
    async def get_image(self, name: str) -> ImageFacts:
        return ImageFacts("image", "image", 0, "", {})


class Daemon:
    """Everything of a daemon that dies with it, over what does not."""

    def __init__(self, *, registry: Registry, folder: Path, launcher: FakeLauncher, pool: ThreadPoolExecutor) -> None:
        self.timelines = Timelines(folder=folder, pool=pool)
        self.supervisor = Supervisor(slots=SLOTS, slots_per_user=2)
        connection, lock = registry.shared()
        purses = Purses(store=UsageStore(connection=connection, lock=lock), allowance=Allowance())
        double, accounts = cast(Any, launcher), cast(Any, Silent())
        starting = Starting(
            launcher=double, gateway=cast(Any, NoModel()), accounts=accounts, purses=purses, installation=INSTALLATION,
            limits=Limits(), mode=Mode.STRICT, forbidden=[], tokens=lambda key, attempt: [f"{key}-{attempt}"],
        )  # fmt: skip
        ending = Ending(
            launcher=double, artefacts=Artefacts(folder=folder, pool=pool), timelines=self.timelines, accounts=accounts,
            keep_s=0, pool=pool,
        )  # fmt: skip
        self.sessions = Sessions(
            registry=registry, timelines=self.timelines, catalogue=cast(Any, Catalogue()), launcher=double,
            gateway=cast(Any, NoModel()), starting=starting,
            spares=Spares(launcher=double, registry=registry, count=0), ending=ending, accounts=accounts,
            approvals=Approvals(store=ApprovalStore(registry=registry), ledger=cast(Any, None)), purses=purses,
            retention=cast(Any, Kept()), supervisor=self.supervisor, pool=pool,
            settings=Settings(
                home=folder, runtime="docker", default_policy="model-only", policies=BUILT_IN, timeout_s=600,
                grace_s=0, output_bytes=1 << 20, limits=SessionLimits(), ceilings=Ceilings(), user_day_usd=0,
                kept_most=0, rules=Rules(warn_percent=80, on_hang="tell"),
            ),
        )  # fmt: skip


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
