"""What can be done with sessions? The one face that the API meets."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import msgspec

from eleagent.errors import Conflict, StorageUnavailable
from eleagent.wire.attestation import Report
from eleagent.wire.events import SandboxAttested, SessionStopping
from eleagent.wire.limits import LimitsUpdate
from eleagent.wire.sessions import InputAccepted, Session, SessionCreate, SessionResume, State
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.domain.doors import Gateway
from eleagent_daemon.sessions.accepting import Accepting
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.admission import check_limits, check_name, check_prompt
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.attending import Attending
from eleagent_daemon.sessions.catalogue import Catalogue
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import KILLED, Cause, Outcome
from eleagent_daemon.sessions.previews import Previews
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.reconcile import Reconciler
from eleagent_daemon.sessions.resume import resumed_request
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.sessions.runner import Runner
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.registry import PROJECT, Record, Registry
from eleagent_daemon.store.timeline import Timelines

PERSON = "person"
"""The hold of a person who pauses a session; parts of the daemon have names of their own."""


class Sessions:
    def __init__(
        self,
        *,
        registry: Registry,
        timelines: Timelines,
        catalogue: Catalogue,
        launcher: LauncherClient,
        gateway: Gateway,
        starting: Starting,
        spares: Spares,
        ending: Ending,
        approvals: Approvals,
        purses: Purses,
        accounts: Accounts,
        retention: Retention,
        supervisor: Supervisor,
        settings: Settings,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._registry = registry
        self._timelines = timelines
        self._approvals = approvals
        self._ending = ending
        self._retention = retention
        self._resuming: set[str] = set()
        self._supervisor = supervisor
        self._settings = settings
        self._accepting = Accepting(
            registry=registry,
            catalogue=catalogue,
            gateway=gateway,
            starting=starting,
            spares=spares,
            purses=purses,
            settings=settings,
        )
        self._attending = Attending(
            registry=registry,
            timelines=timelines,
            launcher=launcher,
            gateway=gateway,
            starting=starting,
            spares=spares,
            shape=self._accepting.shape,
            ending=ending,
            approvals=approvals,
            purses=purses,
            accounts=accounts,
            supervisor=supervisor,
            settings=settings,
            pool=pool,
        )
        self._runners = self._attending.runners
        self.reconciler = Reconciler(
            registry=registry,
            launcher=launcher,
            spares=spares,
            kept_most=settings.kept_most,
            attended=self._attending.wakes,
            take_up=self._attending.take_up,
        )

    async def create(
        self, request: SessionCreate, *, by: Starter, before: Record | None = None, project: str = PROJECT
    ) -> Session:
        """`before` is the ended session that it goes on with. Raises UnknownAgent, BadRequest, Refused, ImageMissing,
        CredentialMissing, Conflict, Unavailable.
        """
        record, fresh = await self._accepting.accept(request, by=by, before=before, project=project)
        if fresh:
            await self._attending.begin(record)
        return record.session

    async def find_first(self, owner: str, token: str) -> Session | None:
        """What a request of the owner's with this idempotency key has started already."""
        first = await self._registry.find_first(owner, token)
        return self._as_it_stands(first.session) if first is not None else None

    async def resume(self, key: str, asked: SessionResume, *, by: Starter) -> Session:
        """Go on with an ended session: its HOME and files in a new sandbox. Raises Conflict where it can't."""
        before = await self._registry.get(key)
        if key in self._resuming:
            raise Conflict(f"session {key} is being resumed already")
        self._resuming.add(key)
        try:
            request = resumed_request(before, asked)
            return await self.create(request, by=by, before=before, project=before.session.project)
        finally:
            self._resuming.discard(key)

    async def recover(self) -> None:
        """Take up what an earlier daemon left, and compare the registry with what is there from now on."""
        await self._approvals.recover({record.session.key for record in await self._registry.live()})
        await self.reconciler.begin()
        self._supervisor.serve("reconciliation", self.reconciler.run)

    def runners(self) -> list[Runner]:
        """Who looks after the sessions under way."""
        return list(self._runners.values())

    async def close(self) -> None:
        """Before the daemon ends."""
        await self._attending.close()

    def find_live(self, key: str) -> Live | None:
        """What is held of a session that is under way."""
        runner = self._runners.get(key)
        return runner.live if runner is not None else None

    async def get(self, key: str) -> Session:
        """A session as it stands; `last_seq` and `queue_position` are of now."""
        return self._as_it_stands((await self._registry.get(key)).session)

    def _as_it_stands(self, session: Session) -> Session:
        runner = self._runners.get(session.key)
        if runner is None or session.state.ended:
            return self._retention.announced(session)
        return msgspec.structs.replace(
            session,
            last_seq=runner.live.timeline.last_seq,
            last_line=runner.live.timeline.last_line or session.last_line,
            usage=runner.live.usage,
            queue_position=self._supervisor.place(session.key),
        )

    async def find(self, text: str, sight: Sight) -> Owned:
        """The session in sight that a person means."""
        session = (await self._registry.get(await self._registry.find_key(text, sight))).session
        return Owned(
            id=session.key,
            owner=session.owner,
            project=session.project,
            private=session.private,
            driver=session.driver,
        )

    async def list_sessions(self, sight: Sight, *, everything: bool, limit: int) -> list[Session]:
        found = await self._registry.list_sessions(sight, live_only=not everything, limit=limit)
        return [self._as_it_stands(session) for session in found]

    async def find_report(self, key: str) -> Report | None:
        """The last attestation in the timeline."""
        if (runner := self._runners.get(key)) is not None:
            return runner.live.report
        attested = await self._timelines.find_last(key, SandboxAttested)
        payload = attested.payload() if attested else None
        return payload.report if isinstance(payload, SandboxAttested) else None

    def find_previews(self, key: str) -> Previews | None:
        runner = self._runners.get(key)
        return runner.live.previews if runner else None

    async def stop(self, key: str, *, by: str, grace_s: float | None) -> State:
        """Raises Conflict when it has ended or is being stopped already."""
        if self._supervisor.withdraw(key):
            live = self._runners[key].live
            live.end_because(Cause.STOPPED, by)
            with contextlib.suppress(StorageUnavailable):
                await live.timeline.append(SessionStopping(reason=Cause.STOPPED, by_user=by))
            outcome = Outcome(State.STOPPED, "stopped", KILLED, detail=f"by {by}, while it was queued")
            await self._ending.conclude(live, outcome)
            self._runners.pop(key, None)
            return State.STOPPED
        await (await self._runner(key)).stopping.for_person(by, grace_s=grace_s)
        return State.STOPPING

    async def pause(self, key: str, *, by: str, detail: str) -> State:
        await (await self._runner(key)).holding.pause(PERSON, by=by, detail=detail)
        return State.PAUSED

    async def unpause(self, key: str, *, by: str) -> State:
        runner = await self._runner(key)
        await runner.holding.unpause(PERSON, by=by)
        return runner.live.session.state

    async def set_limits(self, key: str, update: LimitsUpdate, *, by: str) -> Session:
        check_limits(update, self._settings.ceilings)
        runner = await self._runner(key)
        await runner.holding.set_limits(update, by=by)
        return self._as_it_stands(runner.live.session)

    async def rename(self, key: str, name: str) -> Session:
        """Raises BadRequest, and Conflict for a name that another live session of its owner has."""
        check_name(name)
        await self._registry.rename(key, name)
        if (live := self.find_live(key)) is not None:
            await live.become(name=name)
        return await self.get(key)

    async def interrupt(self, key: str, *, by: str) -> State:
        await (await self._runner(key)).interrupt(by=by)
        return State.RUNNING

    async def say(self, key: str, text: str, *, by: str, lease: int | None) -> InputAccepted:
        check_prompt(text)
        runner = await self._running(key)
        message, seq = await runner.say(text, by=by, lease=lease)
        return InputAccepted(id=message, seq=seq, lease=runner.live.session.lease)

    async def hand_over(self, key: str, to: str, *, by: str, may_take: bool) -> Session:
        runner = await self._runner(key)
        runner.stopping.check_going()
        await runner.lease.hand_over(to, by=by, may_take=may_take)
        return await self.get(key)

    async def _runner(self, key: str) -> Runner:
        if (runner := self._runners.get(key)) is None:
            session = await self.get(key)
            raise Conflict(f"session {key} has ended ({session.state}: {session.reason})")
        return runner

    async def _running(self, key: str) -> Runner:
        runner = await self._runner(key)
        if runner.live.session.state not in (State.RUNNING, State.WAITING):
            raise Conflict(f"session {key} is {runner.live.session.state}, not running")
        runner.stopping.check_going()
        return runner
