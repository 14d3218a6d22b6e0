"""What did a session do at its doors? Each attempt is an event; where none can be kept, nothing passes any more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from eleagent.errors import EleAgentError
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.doors import LOCAL, Attempt, Sink
from eleagent_daemon.domain.pace import Pace
from eleagent_daemon.domain.prices import Price
from eleagent_daemon.gateway.denial import Denied
from eleagent_daemon.gateway.meter import Meter

BURST: Final = 100
HOLD_S: Final = 1.0

Observation = EgressModel | EgressTunnel | SecurityFinding

log = logging.getLogger(__name__)


class Recorder:
    """A sink that remembers whether its last event was kept, and keeps one though who asked for it is cancelled.

    Attempts that came to nothing cost an agent nothing either, so past a burst of them one event a second tells how
    many more there were of one rule: all are counted, and none makes a timeline grow.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._broken = ""
        self._pending: set[asyncio.Task[None]] = set()
        self._pace = Pace(burst=BURST, per_s=1)
        self._held: dict[tuple[str, str, bool], Observation] = {}
        self._closing = asyncio.Event()

    def check(self) -> None:
        """Raises Denied while events can't be kept."""
        if self._broken:
            raise Denied("record", f"EleAgent: nothing passes, since it can't be recorded: {self._broken}")

    async def admit(self, attempt: Attempt) -> int:
        """In the audit log before anything leaves. Raises Denied while that can't be."""
        self.check()
        try:
            return await self._sink.admit(attempt)
        except EleAgentError as error:
            why = f"EleAgent: nothing passes, since it can't be recorded: {error.message}"
            raise Denied("record", why, http_status=503) from error

    async def record(self, payload: Observation, *, admitted: int | None = None) -> None:
        """`admitted` is what `admit` said of it. Past the burst it returns late, so that who asks again and again
        waits.
        """
        task = self.note(payload, admitted=admitted)
        if task is None:
            await self._wait(HOLD_S)
        else:
            # a peer that hangs up cancels its handler, just when there is something to record
            await asyncio.shield(task)

    def note(self, payload: Observation, *, admitted: int | None = None) -> asyncio.Task[None] | None:
        """Begin to keep it; None where it is held to be told with others."""
        if admitted is not None and not isinstance(payload, SecurityFinding):
            self._start(self._sink.settle(admitted, payload))
        passed = admitted is not None
        if not _came_to_nothing(payload) or (not self._held and self._pace.take()):
            return self._start(self._keep(payload, admitted=passed))
        if not self._held:
            self._start(self._tell_held())
        rule = payload.kind if isinstance(payload, SecurityFinding) else payload.rule
        before = self._held.get((payload.type, rule, passed))
        self._held[payload.type, rule, passed] = _with(before, payload) if before else payload
        return None

    async def close(self) -> None:
        """Wait until all is kept."""
        self._closing.set()
        while self._pending:
            await asyncio.gather(*self._pending)

    def _start(self, keeping: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(keeping)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    async def _tell_held(self) -> None:
        while self._held:
            await self._wait(1)
            self._pace.take()  # it is this second's
            first = next(iter(self._held))
            await self._keep(self._held.pop(first), admitted=first[2])

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _keep(self, payload: Observation, *, admitted: bool) -> None:
        try:
            await self._sink.record(payload, admitted=admitted)
            self._broken = ""
        except (EleAgentError, OSError) as error:
            if not self._broken:
                log.error("an egress event could not be recorded: %s", error)  # noqa: TRY400 - one line says it
            self._broken = str(error)


def _came_to_nothing(payload: Observation) -> bool:
    """A refusal, a finding, or an answer that the door gave itself."""
    return isinstance(payload, SecurityFinding) or not payload.allowed or payload.rule == LOCAL


def _with(before: Observation, last: Observation) -> Observation:
    count = before.count + last.count
    if isinstance(before, SecurityFinding) or isinstance(last, SecurityFinding):
        return msgspec.structs.replace(last, count=count)
    up, down = before.bytes_up + last.bytes_up, before.bytes_down + last.bytes_down
    return msgspec.structs.replace(last, count=count, bytes_up=up, bytes_down=down)


@dataclass
class Exchange:
    """One request at the model door as it goes on. `turn`: it asks the model for a turn; `settled`: it was counted.

    `sent` is when it went to the upstream; `whole`: its answer came to its end. `price` is None where the model's is
    not known.
    """

    method: str
    path: str
    turn: bool = False
    offers_tools: bool = False
    allowed: bool = False
    admitted: int | None = None
    rule: str = ""
    status: int = 0
    model: str = ""
    upstream: str = ""
    reason: str = ""
    stop_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    bytes_up: int = 0
    bytes_down: int = 0
    settled: bool = False
    whole: bool = False
    price: Price | None = None
    started: float = field(default_factory=time.monotonic)
    sent: float = 0.0

    def refuse(self, denied: Denied) -> None:
        self.allowed = False
        self.rule, self.status, self.reason = denied.rule, denied.http_status, denied.message

    def fail(self, status: int, reason: str) -> None:
        """It was let through and came to nothing."""
        self.status, self.reason = status, reason

    def read(self, meter: Meter) -> None:
        """Take over what the answer told so far."""
        self.stop_reason = meter.stop_reason
        self.usage = self.priced(meter.usage)
        if not self.reason and self.status >= 400:
            self.reason = f"the upstream answered {self.status}" + (f" ({meter.error})" if meter.error else "")
        self.reason = self.reason or meter.error

    def priced(self, usage: Usage) -> Usage:
        """With what it cost."""
        cost = self.price.cost(usage) if self.price else 0
        unpriced = 0 if self.price else usage.tokens
        return msgspec.structs.replace(usage, turns=int(self.turn), cost_microusd=cost, unpriced_tokens=unpriced)

    def event(self) -> EgressModel:
        return EgressModel(
            allowed=self.allowed,
            rule=self.rule,
            method=self.method,
            path=self.path,
            status=self.status,
            model=self.model,
            upstream=self.upstream,
            reason=self.reason,
            stop_reason=self.stop_reason,
            usage=self.usage,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            duration_ms=elapsed_ms(self.started),
        )


class SessionView:
    """What the model door saw of one session (`domain.doors.ModelView`), from where an earlier daemon's view ended."""

    def __init__(self, *, usage: Usage = Usage(), stop_reason: str = "") -> None:  # noqa: B008 - frozen
        self._usage = usage
        self._open = 0
        self._stop_reason: str | None = stop_reason or None
        self._failure = ""
        self.traffic = 0

    @property
    def usage(self) -> Usage:
        return self._usage

    @property
    def turn_over(self) -> bool:
        return not self._open and self._stop_reason is not None and self._stop_reason != "tool_use"

    @property
    def failure(self) -> str:
        return self._failure

    def begin(self, exchange: Exchange) -> None:
        if exchange.turn:
            self._open += 1

    def end(self, exchange: Exchange) -> None:
        """Idempotent: called before the agent can see an answer's last bytes, and again when the request is over."""
        if exchange.settled:
            return
        exchange.settled = True
        asked = Usage(requests=int(bool(exchange.upstream)), refused=int(not exchange.allowed))
        self._usage = self._usage.plus(exchange.usage).plus(asked)
        if exchange.turn:
            self._open -= 1
            self._failure = exchange.reason
            if exchange.offers_tools or exchange.reason or self._stop_reason != "tool_use":
                # the making of a title beside a call of a tool does not end the turn
                self._stop_reason = exchange.stop_reason

    def correct(self, exchange: Exchange, usage: Usage) -> None:
        """What it used was `usage`, as it turns out."""
        if exchange.settled:
            counted = exchange.usage
            more = {name: getattr(usage, name) - getattr(counted, name) for name in Usage.__struct_fields__}
            self._usage = self._usage.plus(Usage(**more))
        exchange.usage = usage


def elapsed_ms(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
