"""What can be done with sessions? The one face that the API meets."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from eleagent.errors import BadRequest, Conflict, CredentialMissing, StorageUnavailable
from eleagent.wire.attestation import Report
from eleagent.wire.driving import SessionResumed
from eleagent.wire.events import SandboxAttested, SessionCreated, SessionQueued, SessionStopping
from eleagent.wire.limits import LimitsUpdate, SessionLimits
from eleagent.wire.sessions import InputAccepted, Session, SessionCreate, SessionResume, State
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.domain.doors import Gateway, Terms
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, Ceilings, SandboxSpec
from eleagent_daemon.domain.spool import spool_folder
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.admission import (
    check_limits,
    check_name,
    check_request,
    choose_policy,
    make_adapter,
    title,
)
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.catalogue import Catalogue, get_profile, version_of
from eleagent_daemon.sessions.claims import Claims
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.sessions.desk import Desk
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.keeper import Rules, effective
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import KILLED, Cause, Outcome
from eleagent_daemon.sessions.previews import Previews
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.recall import recall
from eleagent_daemon.sessions.reconcile import Reconciler
from eleagent_daemon.sessions.resume import link, resumed_request
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.sessions.runner import Runner
from eleagent_daemon.sessions.spares import NOBODY, Spares
from eleagent_daemon.sessions.starting import Starting, place_data
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.registry import PROJECT, CallerIdentity, Record, Registry
from eleagent_daemon.store.timeline import Timelines, now

log = logging.getLogger(__name__)

PERSON = "person"
"""The hold of a person who pauses a session; parts of the daemon have names of their own."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator set for every session. `policies` are by name."""

    home: Path
    runtime: str
    default_policy: str
    policies: Mapping[str, Policy]
    timeout_s: float
    grace_s: float
    output_bytes: int
    limits: SessionLimits
    ceilings: Ceilings
    user_day_usd: float
    kept_most: int
    rules: Rules


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
        self._catalogue = catalogue
        self._launcher = launcher
        self._gateway = gateway
        self._starting = starting
        self._spares = spares
        self._ending = ending
        self._approvals = approvals
        self._purses = purses
        self._accounts = accounts
        self._retention = retention
        self._resuming: set[str] = set()
        self._supervisor = supervisor
        self._settings = settings
        self._pool = pool
        self._runners: dict[str, Runner] = {}
        self.reconciler = Reconciler(
            registry=registry,
            launcher=launcher,
            spares=spares,
            kept_most=settings.kept_most,
            attended=self._attended,
            take_up=self._take_up,
        )

    async def create(
        self,
        request: SessionCreate,
        *,
        caller: CallerIdentity,
        owner: str,
        token: str | None,
        before: Record | None = None,
        project: str = PROJECT,
        credential: str = "",
    ) -> Session:
        """Accept a session: what is wrong with it is said now; once accepted it is not forgotten.

        `before` is the ended session that it goes on with. Raises UnknownAgent, BadRequest, Refused, ImageMissing,
        CredentialMissing, Conflict, Unavailable.
        """
        profile = get_profile(request.agent)
        if request.timeout_s is None:
            request = msgspec.structs.replace(request, timeout_s=self._settings.timeout_s)
        check_request(request, profile)
        check_limits(request.limits, self._settings.ceilings)
        if request.runtime not in (None, self._settings.runtime):
            raise BadRequest(f"runtime {request.runtime!r} is not here: this daemon has {self._settings.runtime}")
        policy = choose_policy(request, self._settings.default_policy, self._settings.policies)
        if profile.adapter != "command":
            self._check_model(request, policy)
            if request.model_script is None:
                await self._purses.check_user(owner)
        image = await self._catalogue.get_image(profile.name)
        # Whose the session will be is not known yet: every user of the pool can read the same.
        sources = await self._starting.open_sources(request.data, caller, reader_uid=POOL_FIRST_UID)
        place_data(sources)
        version, digest = version_of(image)
        session = Session(
            key="",
            name=request.name or "",
            state=State.QUEUED,
            agent=profile.name,
            owner=owner,
            created=now(),
            title=title(request),
            runtime=self._settings.runtime,
            policy=policy.name,
            model=request.model,
            scripted=request.model_script is not None,
            ask=request.ask,
            image=image.image_id,
            agent_version=version,
            agent_digest=digest,
            data=request.data,
            unreadable=[path for _, source in sources for path in source.unreadable],
            timeout_s=request.timeout_s,
            limits=effective(request.limits, self._settings.limits),
            user_day_usd=self._settings.user_day_usd,
            project=project,
            private=request.private,
            credential=credential,
        )
        if before is not None:
            session = link(session, before)
        shape = None if request.data or before is not None else self._shape(session, request, policy)
        async with self._spares.lend(shape) as spare:
            record, fresh = await self._registry.create_session(
                session,
                request,
                caller,
                token=token,
                reserved=spare,
                wanted_uid=before.uid if before is not None else None,
            )
            if spare is not None and record.session.key == spare.key:
                self._spares.spend(spare)
        if fresh:
            await self._begin(await self._live(record))
        return record.session

    async def resume(
        self, key: str, asked: SessionResume, *, caller: CallerIdentity, owner: str, token: str | None
    ) -> Session:
        """Go on with an ended session: its HOME and files in a new sandbox. Raises Conflict where it can't."""
        before = await self._registry.get(key)
        if key in self._resuming:
            raise Conflict(f"session {key} is being resumed already")
        self._resuming.add(key)
        try:
            request = resumed_request(before, asked)
            return await self.create(
                request, caller=caller, owner=owner, token=token, before=before, project=before.session.project
            )
        finally:
            self._resuming.discard(key)

    async def _link(self, live: Live) -> None:
        """Tell the session that it goes on with, and its own timeline."""
        before = (await self._registry.get(live.session.resumed_from)).session
        await self._registry.update(msgspec.structs.replace(before, resumed_by=live.key))
        await live.timeline.append(
            SessionResumed(resumed_from=before.key, events=before.last_seq, by_user=live.session.owner)
        )

    def _shape(self, session: Session, request: SessionCreate, policy: Policy) -> SandboxSpec:
        """The spare that would do for this session, which has no key yet."""
        profile = get_profile(session.agent)
        adapter = make_adapter(profile, "", request, model_door=self._has_model(request, policy))
        return self._starting.spec(NOBODY, session, adapter.launch()).spare()

    async def _begin(self, live: Live) -> None:
        request, session = live.record.request, live.session
        if live.timeline.last_seq == 0:
            await live.timeline.append(
                SessionCreated(
                    agent=session.agent,
                    owner=session.owner,
                    policy=session.policy,
                    runtime=session.runtime,
                    prompt=request.prompt,
                    argv=request.argv,
                    data=session.data,
                    model=session.model,
                    scripted=session.scripted,
                    ask=session.ask,
                    timeout_s=request.timeout_s,
                )
            )
            if session.resumed_from:
                await self._link(live)
        self._submit(live)
        if (place := self._supervisor.place(live.key)) is not None:
            await live.timeline.append(SessionQueued(position=place))

    async def recover(self) -> None:
        """Take up what an earlier daemon left, and compare the registry with what is there from now on."""
        await self._approvals.recover({record.session.key for record in await self._registry.live()})
        await self.reconciler.begin()
        self._supervisor.serve("reconciliation", self.reconciler.run)

    async def _take_up(self, records: list[Record]) -> None:
        """One session that can't be taken up must not keep the others from being looked after."""
        found: dict[str, Live] = {}
        for record in records:
            try:
                found[record.session.key] = await self._live(record)
            except Exception:
                log.exception("session %s can't be taken up", record.session.key)
        await self._purses.recover(found)
        for live in found.values():
            try:
                await self._begin(live)
            except Exception:
                log.exception("session %s can't be taken up", live.key)

    def _attended(self) -> dict[str, Callable[[], None]]:
        return {key: runner.live.wake for key, runner in self._runners.items()}

    def runners(self) -> list[Runner]:
        """Who looks after the sessions under way."""
        return list(self._runners.values())

    async def close(self) -> None:
        """Before the daemon ends: what is under way at the doors is broken off and recorded. Sandboxes live on."""
        for runner in list(self._runners.values()):
            if runner.live.doors is not None:
                await runner.live.doors.close()

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
        return Owned(id=session.key, owner=session.owner, project=session.project, private=session.private)

    async def list_live(self) -> list[Session]:
        """Everybody's."""
        return [record.session for record in await self._registry.live()]

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
        runner = await self._running(key)
        message, seq = await runner.say(text, by=by, lease=lease)
        return InputAccepted(id=message, seq=seq, lease=runner.live.session.lease)

    async def hand_over(self, key: str, to: str, *, by: str, may_take: bool) -> Session:
        runner = await self._runner(key)
        await runner.lease.hand_over(to, by=by, may_take=may_take)
        return await self.get(key)

    def _submit(self, live: Live) -> None:
        runner = Runner(
            live=live,
            policy=self._policy_of(live.session),
            launcher=self._launcher,
            starting=self._starting,
            ending=self._ending,
            purses=self._purses,
            rules=self._settings.rules,
            accounts=self._accounts,
            pool=self._pool,
            output_bytes=self._settings.output_bytes,
            grace_s=self._settings.grace_s,
        )
        self._runners[live.key] = runner
        live.desk = Desk(
            approvals=self._approvals,
            session=live.session,
            timeline=live.timeline,
            rules=self._policy_of(live.session).approvals,
            mode=live.record.request.approvals,
            recorded=live.answered,
            deliver=runner.deliver,
            decide=runner.holding.decide,
            changed=runner.tell_waiting,
            check_driver=runner.lease.check,
        )

        async def work(desk: Desk) -> None:
            try:
                await desk.take_up(live.adapter.questions())
                await runner.run()
                await self._approvals.give_up(live.key)
            finally:
                self._runners.pop(live.key, None)
                if not live.session.data:
                    self._spares.want(self._shape(live.session, live.record.request, self._policy_of(live.session)))

        at_once = live.session.state is not State.QUEUED
        self._supervisor.submit(live.key, partial(work, live.desk), user=live.session.owner, at_once=at_once)

    def _policy_of(self, session: Session) -> Policy:
        """A policy that the operator took away lets nothing pass a tunnel any more."""
        return self._settings.policies.get(session.policy) or Policy(name=session.policy)

    async def _live(self, record: Record) -> Live:
        session, request = record.session, record.request
        profile = get_profile(session.agent)
        has_model = self._has_model(request, self._policy_of(session))
        adapter = make_adapter(profile, session.key, request, model_door=has_model, conversation=session.conversation)
        timeline = await self._timelines.open(session.key)
        spool = spool_folder(self._settings.home, session.key)
        live = Live(
            record=record,
            timeline=timeline,
            adapter=adapter,
            claims=Claims(adapter.commands),
            registry=self._registry,
            spool=spool,
        )
        if isinstance(adapter, ClaudeAdapter):
            adapter.observe(lambda: live.model)
        if timeline.last_seq:
            async for block in self._timelines.events(session.key):
                recall(live, block)
        return live

    def _check_model(self, request: SessionCreate, policy: Policy) -> None:
        if not policy.model:
            raise BadRequest(f"policy {policy.name!r} has no model door: agent {request.agent!r} can't work under it")
        self._gateway.check(Terms(session="", policy=policy, model_script=request.model_script))

    def _has_model(self, request: SessionCreate, policy: Policy) -> bool:
        """A program gets a model door where there is a model."""
        try:
            return bool(self._gateway.check(Terms(session="", policy=policy, model_script=request.model_script)))
        except (CredentialMissing, BadRequest):
            return False

    async def _runner(self, key: str) -> Runner:
        if (runner := self._runners.get(key)) is None:
            session = await self.get(key)
            raise Conflict(f"session {key} has ended ({session.state}: {session.reason})")
        return runner

    async def _running(self, key: str) -> Runner:
        runner = await self._runner(key)
        if runner.live.session.state not in (State.RUNNING, State.WAITING):
            raise Conflict(f"session {key} is {runner.live.session.state}, not running")
        return runner
