"""How does eleagentd talk to its launcher?"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from eleagent.errors import EleAgentError, LauncherUnavailable
from eleagent_daemon.domain.channel import Channel, close_all
from eleagent_daemon.domain.launch import (
    PROTOCOL,
    AnyAnswer,
    AnyMessage,
    AnyVerb,
    Consumed,
    Failed,
    Greeting,
    Heartbeat,
    Hello,
    Notice,
)

log = logging.getLogger(__name__)

Answer = TypeVar("Answer", bound=msgspec.Struct)

BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
PATIENCE_S: Final = 5.0
"""How long a verb waits for a launcher that is being started again."""

QUEUE_LIMIT: Final = 1000
"""Notices kept for a slow listener; older ones are dropped, since a lost notice does not matter."""

_decoder: Final = msgspec.json.Decoder(AnyMessage)


class Subscription:
    """The notices about one session, in order. An empty one: a connection was made anew, ask what was missed."""

    def __init__(self) -> None:
        self._notices: deque[Notice] = deque(maxlen=QUEUE_LIMIT)
        self._some = asyncio.Event()

    def put(self, notice: Notice) -> None:
        self._notices.append(notice)
        self._some.set()

    async def next(self) -> Notice:
        while not self._notices:
            self._some.clear()
            await self._some.wait()
        return self._notices.popleft()

    async def __aiter__(self) -> AsyncIterator[Notice]:
        while True:
            yield await self.next()


class LauncherClient:
    """One connection to the launcher's socket, made again whenever it breaks. `run` has to run, under a supervisor.

    Every error is an EleAgentError: the launcher's own, or LauncherUnavailable when it can't be asked, in which case
    nobody knows whether the verb was carried out.
    """

    def __init__(self, *, socket_path: Path, version: str) -> None:
        self._path = socket_path
        self._version = version
        self._channel: Channel | None = None
        self._greeting: Greeting | None = None
        self._beat: Heartbeat | None = None
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[tuple[AnyAnswer, list[int]]]] = {}
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._changed = asyncio.Condition()
        self._reason = "it was not reached yet"

    @property
    def greeting(self) -> Greeting | None:
        """What the launcher said of itself; None while there is no connection. A new `pid` is a new launcher."""
        return self._greeting

    async def ready(self, timeout_s: float) -> Greeting:
        """Wait for a connection. Raises LauncherUnavailable after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self._greeting is not None)
        except TimeoutError:
            raise self._unavailable() from None
        if self._greeting is None:
            raise self._unavailable()
        return self._greeting

    async def call(self, verb: AnyVerb, fds: Sequence[int] = ()) -> tuple[AnyAnswer, list[int]]:
        """The launcher's answer and the descriptors beside it, which are the caller's; `fds` go along and stay theirs.

        `verb.id` is set here.
        """
        if self._greeting is None:
            await self.ready(PATIENCE_S)
        if self._channel is None:
            raise self._unavailable()
        return await self._exchange(self._channel, verb, fds)

    async def ask(self, verb: AnyVerb, expected: type[Answer], fds: Sequence[int] = ()) -> Answer:
        """`call` for a verb that is answered by an `expected` alone."""
        answer, received = await self.call(verb, fds)
        close_all(received)
        if not isinstance(answer, expected):
            raise LauncherUnavailable(f"the launcher answered {type(verb).__name__} with {type(answer).__name__}")
        return answer

    def consumed(self, session: str, offset: int) -> None:
        """All output below `offset` is durable. Not answered, dropped while there is no connection."""
        if self._channel is not None and self._greeting is not None:
            self._channel.send(msgspec.json.encode(Consumed(session=session, offset=offset)))

    def beat(self, beat: Heartbeat) -> None:
        """Not answered. Without a connection it is the first that is said on the next one, before any verb: a launcher
        that never heard one doesn't wait for another."""
        self._beat = beat
        if self._channel is not None and self._greeting is not None:
            self._channel.send(msgspec.json.encode(beat))

    @contextmanager
    def notices(self, session: str) -> Iterator[Subscription]:
        """The notices about `session` (or an image reference that is being built) while the context lasts."""
        subscription = Subscription()
        self._subscriptions.setdefault(session, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[session].discard(subscription)
            if not self._subscriptions[session]:
                del self._subscriptions[session]

    async def run(self) -> None:
        """Stay connected until cancelled."""
        failures = 0
        while True:
            try:
                await self._connected()
                failures = 0
            except (OSError, EleAgentError) as error:
                self._reason = str(error)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _connected(self) -> None:
        """One connection from its making to its end."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            raise
        ended = asyncio.Event()
        channel = Channel(sock=sock, loop=loop, on_message=self._received, on_closed=lambda: self._lost(ended))
        self._channel = channel
        try:
            answer, received = await self._exchange(channel, Hello(protocol=PROTOCOL, version=self._version))
            close_all(received)
            if not isinstance(answer, Greeting):
                raise LauncherUnavailable(f"it answered a greeting with {type(answer).__name__}")
            await self._greeted(answer)
            await ended.wait()
        finally:
            channel.close()
            self._channel = None
            self._greeting = None
            self._lost(ended)

    async def _greeted(self, greeting: Greeting) -> None:
        log.info("connected to launcher %d (%s)", greeting.pid, greeting.version)
        async with self._changed:
            self._greeting = greeting
            if self._beat is not None:
                self.beat(self._beat)
            self._changed.notify_all()
        for session, subscriptions in self._subscriptions.items():
            for subscription in subscriptions:
                subscription.put(Notice(session=session))

    async def _exchange(self, channel: Channel, verb: AnyVerb, fds: Sequence[int] = ()) -> tuple[AnyAnswer, list[int]]:
        number = next(self._ids)
        future: asyncio.Future[tuple[AnyAnswer, list[int]]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            channel.send(msgspec.json.encode(msgspec.structs.replace(verb, id=number)), fds)
            answer, received = await future
        finally:
            self._pending.pop(number, None)
        if isinstance(answer, Failed):
            close_all(received)
            raise answer.error()
        return answer, received

    def _received(self, data: bytes, fds: list[int]) -> None:
        message = _decoder.decode(data)
        if isinstance(message, Notice):
            close_all(fds)
            for subscription in self._subscriptions.get(message.session, ()):
                subscription.put(message)
            return
        future = self._pending.get(message.id)
        if future is None or future.done():
            close_all(fds)
        else:
            future.set_result((message.answer, fds))

    def _lost(self, ended: asyncio.Event) -> None:
        self._reason = "the connection was lost"
        for future in self._pending.values():
            if not future.done():
                future.set_exception(self._unavailable())
        ended.set()

    def _unavailable(self) -> LauncherUnavailable:
        return LauncherUnavailable(f"eleagent-launcher can't be asked at {self._path}: {self._reason}")
