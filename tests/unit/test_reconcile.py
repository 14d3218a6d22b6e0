"""Is each of the cases in which registry and engine differ brought to the one right end?"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import EngineUnavailable, Unavailable
from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.launch import Done, Entry, ListAll, Listing, Remove
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.reconcile import Reconciler, Step, step, strays, true_end, unseen
from eleagent_daemon.store.registry import CallerIdentity, Record, Registry

CALLER = CallerIdentity(uid=1, gid=1, groups=[])


@pytest.mark.parametrize(
    ("released", "phase", "wanted"),
    [
        (True, Phase.RUNNING, Step.ADOPT), (True, Phase.PAUSED, Step.ADOPT), (True, Phase.EXITED, Step.FINISH),
        (True, Phase.GONE, Step.LOSE), (True, Phase.CREATED, Step.LOSE), (True, Phase.LOST, Step.WAIT),
        (False, Phase.LOST, Step.WAIT), *((False, phase, Step.REMAKE) for phase in Phase if phase is not Phase.LOST),
    ],
)  # fmt: skip
def test_step_of_each_case(released: bool, phase: Phase, wanted: Step) -> None:
    assert step(released=released, phase=phase) is wanted


def test_step_never_runs_an_agent_twice_that_may_have_run() -> None:
    assert all(step(released=True, phase=phase) is not Step.REMAKE for phase in Phase)
    cases = itertools.product((True, False), Phase)
    assert {(released, phase) for released, phase in cases if step(released=released, phase=phase) is Step.LOSE} == {
        (True, Phase.GONE), (True, Phase.CREATED),
    }, "lost is only what is gone"  # fmt: skip


@pytest.mark.parametrize("code", [0, 1, 7, 125])
def test_end_of_its_own_stays_its_own_over_a_reboot_and_an_engines_restart(code: int) -> None:
    status = Status(Phase.EXITED, exit_code=code)
    assert true_end(status, rebooted=True, orphaned=True) == status


@pytest.mark.parametrize("code", [137, 143, 255])
def test_end_by_force_is_nobodys_exit_code_after_a_reboot_and_an_engines_restart(code: int) -> None:
    status = Status(Phase.EXITED, exit_code=code)
    assert true_end(status, rebooted=False, orphaned=False) == status, "somebody killed it"
    assert "rebooted" in true_end(status, rebooted=True, orphaned=False).error
    unseen_end = Status(Phase.EXITED, error="nobody knows how it ended")
    assert "rebooted" in true_end(unseen_end, rebooted=True, orphaned=False).error
    told = true_end(status, rebooted=False, orphaned=True)
    assert (told.phase, told.exit_code, "restarted" in told.error) == (Phase.GONE, None, True)


KEYS = [f"s-{letter * 10}" for letter in "abcdef"]
some = st.sets(st.sampled_from(KEYS))


@given(some, some, st.booleans())
def test_strays_are_judged_on_a_complete_listing_alone(there: set[str], known: set[str], complete: bool) -> None:
    listing = Listing([Entry(key, 1, Phase.RUNNING) for key in there], complete)
    assert strays(listing, known) == (there - known if complete else set())
    assert unseen(listing, known) == (known - there if complete else set())


class Launcher:
    """Answers with one listing, and remembers what was removed."""

    def __init__(self, *keys: str, complete: bool = True) -> None:
        self.keys, self.complete, self.removed = list(keys), complete, list[str]()
        self.stuck: set[str] = set()

    async def ask(self, verb: object, expected: type) -> object:
        match verb:
            case ListAll():
                return Listing([Entry(key, 1, Phase.RUNNING) for key in self.keys], self.complete)
            case Remove(session=session) if session in self.stuck:
                raise Unavailable(f"{session}/disk can't be unmounted")
            case Remove(session=session):
                self.removed.append(session)
                return Done()
        raise AssertionError(verb)


class Lab:
    def __init__(self, registry: Registry, launcher: Launcher) -> None:
        self.taken_up: list[str] = []
        self.looked: list[str] = []
        self.attended: list[str] = []
        self.keys: set[str] = set()
        self.registry = registry
        self.reconciler = Reconciler(
            registry=registry, launcher=cast(Any, launcher), spares=self, kept_most=5, attended=self._attended,
            take_up=self._take_up,
        )  # fmt: skip

    def _attended(self) -> dict[str, Any]:
        return {key: lambda key=key: self.looked.append(key) for key in self.attended}

    async def _take_up(self, records: list[Record]) -> None:
        self.taken_up += [record.session.key for record in records]

    async def session(self, *states: State, **changes: Any) -> str:
        new = Session(key="", name="", state=State.QUEUED, agent="x", owner="ada", created="2026-01-01T00:00:00Z")
        record, _ = await self.registry.create_session(new, SessionCreate(argv=["x"]), CALLER, token=None)
        session = record.session
        for state in states:
            session = msgspec.structs.replace(session, state=state, **changes)
            await self.registry.update(session)
        return session.key


@pytest.fixture
async def registry(tmp_path: Path) -> Any:
    opened = await Registry.open(tmp_path / "registry.db")
    yield opened
    await opened.close()


async def test_reconciliation_removes_what_is_nobodys_and_nothing_else(registry: Registry) -> None:
    launcher = Launcher()
    lab = Lab(registry, launcher)
    alive = await lab.session(State.STARTING, State.RUNNING, started="2026-01-01T00:00:00Z")
    over = await lab.session(State.STARTING, State.RUNNING, State.SUCCEEDED)
    kept = await lab.session(State.STARTING, State.ISOLATION_FAILED, kept_until="2999-01-01T00:00:00Z")
    old = await lab.session(State.STARTING, State.ISOLATION_FAILED, kept_until="2001-01-01T00:00:00Z")
    lab.attended, lab.keys = [alive, "s-endingnow2"], {"s-spareaaaaa"}
    launcher.keys = [alive, over, kept, old, "s-strangeraa", "s-endingnow2", "s-spareaaaaa"]
    await lab.reconciler.reconcile()
    assert sorted(launcher.removed) == sorted([over, old, "s-strangeraa"])
    assert (lab.looked, lab.taken_up) == ([], [])
    assert [session.key for session in await lab.reconciler.kept()] == [kept]


async def test_sandbox_that_can_not_be_removed_keeps_no_other_and_is_told_of(registry: Registry) -> None:
    launcher = Launcher("s-aaaaaaaaaa", "s-bbbbbbbbbb", "s-cccccccccc")
    lab = Lab(registry, launcher)
    launcher.stuck = {"s-bbbbbbbbbb"}
    await lab.reconciler.reconcile()
    assert sorted(launcher.removed) == ["s-aaaaaaaaaa", "s-cccccccccc"]
    assert lab.reconciler.left == {"s-bbbbbbbbbb": "s-bbbbbbbbbb/disk can't be unmounted"}
    launcher.stuck = set()
    await lab.reconciler.reconcile()
    assert lab.reconciler.left == {}


async def test_reconciliation_without_a_complete_listing_judges_nothing(registry: Registry) -> None:
    launcher = Launcher("s-strangeraa", complete=False)
    lab = Lab(registry, launcher)
    alive = await lab.session(State.STARTING, State.RUNNING, started="2026-01-01T00:00:00Z")
    lab.attended = [alive]
    await lab.reconciler.reconcile()
    assert (launcher.removed, lab.looked) == ([], [])


async def test_reconciliation_makes_a_runner_look_whose_sandbox_is_not_there(registry: Registry) -> None:
    lab = Lab(registry, Launcher())
    gone = await lab.session(State.STARTING, State.RUNNING, started="2026-01-01T00:00:00Z")
    being_made = await lab.session(State.STARTING)
    lab.attended = [gone, being_made]
    await lab.reconciler.reconcile()
    assert lab.looked == [gone]


async def test_reconciliation_takes_up_what_nobody_looks_after(registry: Registry) -> None:
    lab = Lab(registry, Launcher())
    forgotten = await lab.session(State.STARTING)
    await lab.reconciler.reconcile()
    assert lab.taken_up == [forgotten]
    await lab.reconciler.begin()
    assert lab.taken_up == [forgotten, forgotten]


async def test_reconciliation_outlives_a_launcher_that_is_away(registry: Registry) -> None:
    class Away(Launcher):
        async def ask(self, verb: object, expected: type) -> object:
            raise EngineUnavailable("no engine")

    with pytest.raises(EngineUnavailable):
        await Lab(registry, Away()).reconciler.reconcile()
