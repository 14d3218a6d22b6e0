"""How does one session live, from its turn in the queue to its end?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from eleagent.errors import (
    EleAgentError,
    EngineUnavailable,
    IsolationFailed,
    LauncherUnavailable,
    NotFound,
    StorageUnavailable,
)
from eleagent.wire.events import (
    ApprovalAnswered,
    SandboxExited,
    SandboxViolation,
    SessionAdopted,
)
from eleagent.wire.observations import ObservationGap
from eleagent.wire.sessions import State
from eleagent_daemon.domain.launch import Done, Inspect, Inspected, Look, Notice, Remove, Signal, Stop
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.adapter import Send
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.holding import Holding
from eleagent_daemon.sessions.keeper import Rules
from eleagent_daemon.sessions.launchclient import LauncherClient, Subscription
from eleagent_daemon.sessions.lease import Lease
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import Cause, Outcome, decide
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.reading import Reading
from eleagent_daemon.sessions.reconcile import Step, step, true_end
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.stopping import Stopping
from eleagent_daemon.store.timeline import now

log = logging.getLogger(__name__)

POLL_S = 10.0
"""Notices are hints; the truth is asked for at least this often."""

FAREWELL_S = 10.0
"""How long an agent may take to end after it was told that its work is done."""

GONE = Status(phase=Phase.GONE)
AWAY_S = 1.0
RETRY_S = 0.2
RETRY_END_S = 10.0
_SIGINT = 2
_LAUNCHER_WAIT_S = 60.0


class Runner:
    """`run` lasts to the session's end, or to the daemon's: the sandbox then lives on and is adopted by the next."""

    def __init__(
        self,
        *,
        live: Live,
        policy: Policy,
        launcher: LauncherClient,
        starting: Starting,
        ending: Ending,
        accounts: Accounts,
        pool: ThreadPoolExecutor,
        purses: Purses,
        rules: Rules,
        output_bytes: int,
        grace_s: float,
    ) -> None:
        self.live = live
        self.lease = Lease(live)
        self.stopping = Stopping(live=live, launcher=launcher, grace_s=grace_s)
        self.holding = Holding(live=live, launcher=launcher, stopping=self.stopping, purses=purses, rules=rules)
        self._policy = policy
        self._launcher = launcher
        self._starting = starting
        self._ending = ending
        self._accounts = accounts
        self._pool = pool
        self._output_bytes = output_bytes
        self._farewell_at: float | None = None
        self._launcher_pid = 0
        self._inspected_at = 0.0

    async def run(self) -> None:
        """See the session to its end. Whatever is met on the way, it ends in a clear state, once the disk allows."""
        outcome = None
        if self.live.ended is None:  # else an earlier daemon died right after its last event
            outcome = await self._outcome()
        self.stopping.over = True
        while not await self._concluded(outcome):  # noqa: ASYNC110 - a disk with room again says nothing
            await asyncio.sleep(RETRY_END_S)

    async def _outcome(self) -> Outcome:
        """What came of it."""
        with self._launcher.notices(self.live.key) as notices:
            self.live.wake = partial(notices.put, Notice(session=self.live.key))
            try:
                status = self.live.exited or await self._exited(self._true_end(await self._see_through(notices)))
                verdict = self.live.adapter.verdict(status.exit_code if status.exit_code is not None else 1)
                return decide(
                    status,
                    cause=self.live.cause,
                    by=self.live.by,
                    verdict=verdict,
                    unanswered=self.live.unanswered,
                    why=self.live.why,
                )
            except EleAgentError as err:
                log.warning("session %s ends: %s", self.live.key, err.message)
                return self._failure(err)
            except Exception:
                log.exception("session %s ends by a fault of ours", self.live.key)
                return Outcome(State.FAILED, "internal", EleAgentError.exit_code, detail="see the daemon's log")

    def _true_end(self, status: Status) -> Status:
        booted = self._starting.boot_id
        rebooted = bool(self.live.boot_id and booted and self.live.boot_id != booted)
        return true_end(status, rebooted=rebooted, orphaned=status.orphaned and self.live.cause is None)

    async def _exited(self, status: Status) -> Status:
        """How it ended is durable before anything of it is removed."""
        if status.phase is Phase.EXITED and status.exit_code is not None:
            with contextlib.suppress(StorageUnavailable):
                await self.live.timeline.append(SandboxExited(exit_code=status.exit_code, oom=status.oom))
        return status

    async def _concluded(self, outcome: Outcome | None) -> bool:
        try:
            await self._ending.conclude(self.live, outcome)
        except Exception:
            log.exception("the end of session %s can't be stored, it is tried again", self.live.key)
            return False
        return True

    async def _see_through(self, notices: Subscription) -> Status:
        """Start or adopt, and follow. A launcher that dies on the way is waited for: what it made is taken up or made
        again.
        """
        fresh = self.live.session.state is State.QUEUED
        while True:
            try:
                await self._ready()
                return await (self._start(notices) if fresh else self._adopt(notices))
            except LauncherUnavailable as err:
                log.warning("session %s waits for its launcher: %s", self.live.key, err.message)
                fresh = False

    def _failure(self, err: EleAgentError) -> Outcome:
        """What an error means for the session, unless it is only what our own stop led to."""
        if self.live.cause is not None:
            verdict = self.live.adapter.verdict(1)
            return decide(GONE, cause=self.live.cause, by=self.live.by, verdict=verdict, why=self.live.why)
        state = State.ISOLATION_FAILED if isinstance(err, IsolationFailed) else State.FAILED
        return Outcome(state, err.code, err.exit_code, detail=err.message)

    async def _start(self, notices: Subscription) -> Status:
        if self.live.cause is not None:  # it was being ended: nothing is made any more
            return GONE
        await self._starting.start(self.live, policy=self._policy)
        return await self._follow(notices)

    async def _adopt(self, notices: Subscription) -> Status:
        """Go on with what an earlier daemon or launcher left, as `reconcile.step` says."""
        live = self.live
        inspected = await self._found()
        if live.started is None:
            await live.close_doors()
            await self._launcher.ask(Remove(session=live.key, forget=not live.session.resumed_from), Done)
            return await self._start(notices)
        if live.seen_until:
            gap = ObservationGap(begin=live.seen_until, end=now(), what="the daemon was away")
            await live.timeline.append(gap)
        if live.session.state is State.STARTING:  # the earlier daemon died over its release
            await live.become(state=State.RUNNING, started=live.started)
        match step(released=True, phase=inspected.status.phase):
            case Step.LOSE:
                return await self._read_out(inspected.status)
            case Step.ADOPT if not inspected.draining:
                try:
                    await self._take_over(inspected)
                except (IsolationFailed, NotFound):
                    found = await self._inspect()
                    if found.status.phase in (Phase.RUNNING, Phase.PAUSED) and not found.draining:
                        raise  # else it just ended, and what is not there any more can't be attested or given doors
            case _:
                live.wake()  # it has ended, and no notice tells of that any more
        return await self._follow(notices)

    async def _take_over(self, inspected: Inspected) -> None:
        """What is paused is attested when it goes on. Doors that we hold go back first: to attest what is not released
        opens those that are missing.
        """
        live = self.live
        held = bool(live.held)
        if held:
            await self._starting.give_back_doors(live)
        same = inspected.status.phase is Phase.PAUSED or await self._starting.reattest(live)
        await live.timeline.append(SessionAdopted(attested=same))
        if not same:
            await self.stopping.end(Cause.VIOLATION, grace_s=0)
            return
        if not held:
            await self._starting.open_doors(live, policy=self._policy)
        await self._starting.release(live, written=inspected.written)
        self.holding.begin()
        await self.holding.ask_at_limit()  # the earlier daemon may have died before it did

    async def _found(self) -> Inspected:
        """What is there, as soon as somebody can say: only then can what runs be attested and be given its doors."""
        while (inspected := await self._inspect()).status.phase is Phase.LOST:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(AWAY_S)
        return inspected

    async def _inspect(self) -> Inspected:
        """GONE where the launcher knows of no such sandbox."""
        self._inspected_at = time.monotonic()
        try:
            return await self._launcher.ask(Inspect(session=self.live.key), Inspected)
        except NotFound as err:
            return Inspected(status=Status(phase=Phase.GONE, error=err.message), spooled=0, written=[])

    async def _ready(self) -> None:
        self._launcher_pid = (await self._launcher.ready(_LAUNCHER_WAIT_S)).pid

    async def _follow(self, notices: Subscription) -> Status:
        """Read until the sandbox has ended and all of its output is in the timeline."""
        reading = self._reading()
        self.holding.begin()
        ended: Inspected | None = None
        while True:
            try:
                await self.stopping.send()
                for send in await reading.drain():
                    await self._write(send)
                if reading.turn_over:
                    await self._look_at_files()
                    reading.turn_over = False
                if ended is not None and reading.offset >= ended.spooled:
                    await reading.finish()
                    return ended.status
                if reading.overflowing:
                    await self.stopping.end(Cause.OVERFLOW, grace_s=0)
                await self._say_farewell()
                ended = await self._ended(await self._next(notices))
            except (LauncherUnavailable, EngineUnavailable) as err:
                await self._wait_for_launcher(err)
            except StorageUnavailable:
                await self.stopping.end(Cause.UNWRITABLE, grace_s=0)
                return await self._until_ended(notices)

    async def _read_out(self, status: Status) -> Status:
        """Of a sandbox that is gone: what it said last may be in its spool yet."""
        reading = self._reading()
        with contextlib.suppress(StorageUnavailable):
            await reading.drain()
            await reading.finish()
        return status

    def _reading(self) -> Reading:
        return Reading(
            live=self.live,
            launcher=self._launcher,
            accounts=self._accounts,
            pool=self._pool,
            limit_bytes=self._output_bytes,
        )

    async def _write(self, send: Send) -> None:
        with contextlib.suppress(NotFound):  # it is gone, which its end will tell
            await self._starting.write(self.live.key, send)

    async def _look_at_files(self) -> None:
        """At the end of a turn; at the end of the sandbox the launcher does it by itself."""
        with contextlib.suppress(NotFound):
            await self._launcher.ask(Look(session=self.live.key), Done)

    async def _say_farewell(self) -> None:
        """End an agent that has nothing more to do; one that does not go by itself is stopped."""
        if self.live.record.request.stay:
            return
        if self._farewell_at is None and (farewell := self.live.adapter.farewell()) is not None:
            await self._write(farewell)
            self._farewell_at = time.monotonic()
        elif self._farewell_at is not None and time.monotonic() > self._farewell_at + FAREWELL_S:
            self._farewell_at = math.inf
            await self._launcher.ask(Stop(session=self.live.key, grace_s=self.stopping.grace_s), Done)

    async def _next(self, notices: Subscription) -> Notice | None:
        """The next notice; None when it is time to ask by ourselves."""
        due_s = self.holding.due_s
        wait_s = POLL_S if due_s is None else min(POLL_S, due_s)
        try:
            async with asyncio.timeout(wait_s):
                return await notices.next()
        except TimeoutError:
            return None

    async def _ended(self, notice: Notice | None) -> Inspected | None:
        """Look at what a notice means; the inspection once the sandbox is not running any more."""
        if notice is not None and notice.violation:
            await self.live.timeline.append(SandboxViolation(differences=notice.violation))
            await self.stopping.end(Cause.VIOLATION, grace_s=0)
        due = self.holding.due_s == 0 or time.monotonic() >= self._inspected_at + POLL_S
        if notice is not None and notice.spooled and not notice.ended and not due:
            await self.holding.mind(None, asked=False)
            return None
        inspected = await self._inspect()
        await self.holding.tell_of(inspected.resources)
        if inspected.status.phase in (Phase.EXITED, Phase.GONE):
            return inspected
        await self.holding.mind(inspected.cpu_s, asked=True)
        await self._meet_new_launcher(inspected)
        await self.holding.keep_still(inspected)
        return None

    async def _meet_new_launcher(self, inspected: Inspected) -> None:
        """A launcher with another pid has neither the listeners nor the input that its predecessor held in memory."""
        greeting = self._launcher.greeting
        if greeting is None or greeting.pid == self._launcher_pid or inspected.draining:
            return
        try:
            if self.live.held:
                await self._starting.give_back_doors(self.live)
            await self._starting.write_inputs(self.live, written=inspected.written)
        except (IsolationFailed, NotFound):
            now_found = await self._inspect()
            if now_found.status.phase is Phase.RUNNING and not now_found.draining:
                raise
            return  # it ended meanwhile
        self._launcher_pid = greeting.pid

    async def _wait_for_launcher(self, err: EleAgentError) -> None:
        """The sandbox does not need the launcher to run: neither does its session."""
        log.warning("session %s goes on alone: %s", self.live.key, err.message)
        await asyncio.sleep(RETRY_S)
        with contextlib.suppress(LauncherUnavailable):
            await self._launcher.ready(POLL_S)

    async def _until_ended(self, notices: Subscription) -> Status:
        while (inspected := await self._ended(await self._next(notices))) is None:
            pass
        return inspected.status

    async def say(self, text: str, *, by: str, lease: int | None) -> tuple[str, int]:
        """(message id, seq). In the timeline before it is written. Raises Conflict where somebody else drives."""
        async with self.lease.driving(by, lease):
            message = f"{self.live.key}-{len(self.live.inputs) + 1}"
            send = self.live.adapter.say(text, message=message)
            seq = await self._starting.accept(self.live, message, text, by=by)
            await self._starting.write(self.live.key, send)
            return message, seq

    async def interrupt(self, *, by: str) -> None:
        """Raises Conflict where somebody else drives."""
        self.lease.check(by)
        send = self.live.adapter.interrupt()
        if send is None:
            await self._launcher.ask(Signal(session=self.live.key, signum=_SIGINT), Done)
        else:
            await self._starting.write(self.live.key, send)

    async def tell_waiting(self) -> None:
        """Store whether the session waits for a person, as far as it runs at all."""
        if self.live.session.state in (State.RUNNING, State.WAITING) and self.live.session.state is not self.live.awake:
            await self.live.become(state=self.live.awake)

    async def deliver(self, answered: ApprovalAnswered) -> None:
        """Tell the agent, once. Raises NotFound when it asks no longer, LauncherUnavailable to be tried again."""
        send = self.live.adapter.answer(answered)
        self.live.adapter.recall(answered)
        await self._starting.write(self.live.key, send)
