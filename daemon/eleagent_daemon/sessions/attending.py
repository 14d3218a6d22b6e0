"""Who looks after the sessions under way, and how does each get its runner: a new one, and one of an earlier daemon?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec

from eleagent.wire.driving import SessionResumed
from eleagent.wire.events import SessionCreated, SessionQueued
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.domain.doors import Gateway
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import SandboxSpec
from eleagent_daemon.domain.spool import spool_folder
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.admission import has_model, make_adapter
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.catalogue import get_profile
from eleagent_daemon.sessions.claims import Claims
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.sessions.desk import Desk
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.recall import recall
from eleagent_daemon.sessions.runner import Runner
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.registry import Record, Registry
from eleagent_daemon.store.timeline import Timelines

log = logging.getLogger(__name__)

Shape = Callable[[Session, SessionCreate, Policy], SandboxSpec]
"""The spare that would do for a session like this."""


class Attending:
    """`runners` are those at work, by their session's key."""

    def __init__(
        self,
        *,
        registry: Registry,
        timelines: Timelines,
        launcher: LauncherClient,
        gateway: Gateway,
        starting: Starting,
        spares: Spares,
        shape: Shape,
        ending: Ending,
        approvals: Approvals,
        purses: Purses,
        accounts: Accounts,
        supervisor: Supervisor,
        settings: Settings,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.runners: dict[str, Runner] = {}
        self._registry = registry
        self._timelines = timelines
        self._launcher = launcher
        self._gateway = gateway
        self._starting = starting
        self._spares = spares
        self._shape = shape
        self._ending = ending
        self._approvals = approvals
        self._purses = purses
        self._accounts = accounts
        self._supervisor = supervisor
        self._settings = settings
        self._pool = pool

    async def begin(self, record: Record) -> None:
        """Look after a session from now on."""
        await self._begin(await self._live(record))

    async def take_up(self, records: list[Record]) -> None:
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

    def wakes(self) -> dict[str, Callable[[], None]]:
        """How to wake who looks after each, by key."""
        return {key: runner.live.wake for key, runner in self.runners.items()}

    async def close(self) -> None:
        """Before the daemon ends: what is under way at the doors is broken off and recorded. Sandboxes live on."""
        for runner in list(self.runners.values()):
            if runner.live.doors is not None:
                await runner.live.doors.close()

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

    async def _link(self, live: Live) -> None:
        """Tell the session that it goes on with, and its own timeline."""
        before = (await self._registry.get(live.session.resumed_from)).session
        await self._registry.update(msgspec.structs.replace(before, resumed_by=live.key))
        await live.timeline.append(
            SessionResumed(resumed_from=before.key, events=before.last_seq, by_user=live.session.owner)
        )

    def _submit(self, live: Live) -> None:
        runner = Runner(
            live=live,
            policy=self._settings.policy_of(live.session),
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
        self.runners[live.key] = runner
        live.desk = Desk(
            approvals=self._approvals,
            session=live.session,
            timeline=live.timeline,
            rules=self._settings.policy_of(live.session).approvals,
            mode=live.record.request.approvals,
            recorded=live.answered,
            deliver=runner.deliver,
            decide=runner.holding.decide,
            changed=runner.tell_waiting,
            driver=lambda: live.session.driver,
            check_driver=runner.lease.check,
        )

        async def work(desk: Desk) -> None:
            try:
                await desk.take_up(live.adapter.questions())
                await runner.run()
                await self._approvals.give_up(live.key)
            finally:
                self.runners.pop(live.key, None)
                if not live.session.data:
                    policy = self._settings.policy_of(live.session)
                    self._spares.want(self._shape(live.session, live.record.request, policy))

        # One that was stopped in the queue has only to be concluded: it waits for no slot.
        at_once = live.session.state is not State.QUEUED or live.cause is not None or live.ended is not None
        self._supervisor.submit(live.key, partial(work, live.desk), user=live.session.owner, at_once=at_once)

    async def _live(self, record: Record) -> Live:
        session, request = record.session, record.request
        profile = get_profile(session.agent)
        door = has_model(self._gateway, request, self._settings.policy_of(session))
        adapter = make_adapter(profile, session.key, request, model_door=door, conversation=session.conversation)
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
