"""How does a connection to a door that speaks HTTP behave before and between its requests?

Heads have to come in time, silence is not kept, and what is no HTTP is told to the door: aiohttp itself logs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from eleagent_daemon.gateway.denial import error_json

LINGER_S: Final = 2.0
"""How long the rest of a refused body is read and dropped, so that the agent gets to read why."""
CLOSE_S: Final = 0.5

log = logging.getLogger(__name__)

_SILENT: Final = logging.Logger("aiohttp at a door", level=logging.CRITICAL + 1)
"""aiohttp logs a traceback for every malformed request, as fast as an agent can send them."""


@dataclass(frozen=True)
class Patience:
    """`head_s`: for a whole request head; `idle_s`: for the next request of a connection. A body has to come within
    `body_s`, and after `head_s` at `body_rate` bytes a second or more.
    """

    head_s: float = 10.0
    idle_s: float = 120.0
    body_s: float = 60.0
    body_rate: int = 64 * 1024

    def body_deadline_s(self, received: int) -> float:
        """Seconds after its head by which more of a body has to be there."""
        return min(self.body_s, self.head_s + received / self.body_rate)


class Server(web.Server):
    """aiohttp's low-level server. `lost` is called when a connection is gone, `malformed` for what is no request;
    `refusal` makes the body that answers it, of a status and a sentence.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        patience: Patience,
        malformed: Callable[[str], None],
        refusal: Callable[[int, str], bytes] = error_json,
    ) -> None:
        super().__init__(self._answer, handler_cancellation=True)
        self._refusal = refusal
        self._handler = handler
        self._patience = patience
        self._malformed = malformed
        self._under_way: set[asyncio.Task[None]] = set()
        self.lost: Callable[[], None] | None = None

    async def close(self) -> None:
        """Break off what is under way, and end every connection."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self.pre_shutdown()
        await self.shutdown(CLOSE_S)

    def __call__(self) -> Connection:
        return Connection(self, patience=self._patience, malformed=self._malformed, refusal=self._refusal)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if self.lost is not None:
            self.lost()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)  # noqa: S101 - made above
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler runs in a task
        self._under_way.add(task)
        try:
            with connection.answering():
                return await self._handler(request)
        finally:
            self._under_way.discard(task)


class Connection(RequestHandler):
    """One connection of an agent, with as many requests as it likes, one after the other."""

    def __init__(
        self,
        server: Server,
        *,
        patience: Patience,
        malformed: Callable[[str], None],
        refusal: Callable[[int, str], bytes],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=_SILENT,
            logger=_SILENT,
            auto_decompress=False,
            keepalive_timeout=patience.idle_s,
            lingering_time=LINGER_S,
        )
        self._head_s = patience.head_s
        self._malformed = malformed
        self._refusal = refusal
        self._spoke = False
        self._answering = False
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._spoke = True
        if not self._answering:
            self._await_head()
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's word for a malformed request (400), or for an error that the door did not foresee."""
        self._head_came()
        if status == 400:
            what = f"this is no well-formed HTTP request ({type(exc).__name__})"  # its message can quote a key
            self._malformed(what)
        else:
            what = "this door failed; the daemon's log says why"
            log.error("a request at a door failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        body = self._refusal(status, f"EleAgent: {what}")
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While a request is handled, what comes is its body or waits."""
        self._head_came()
        self._answering = True
        try:
            yield
        finally:
            self._answering = False
            self._spoke = False

    def _await_head(self) -> None:
        if self._head_due is None:
            self._head_due = asyncio.get_running_loop().call_later(self._head_s, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _head_is_late(self) -> None:
        self._head_due = None
        if self._spoke:
            self._malformed(f"no whole request head within {self._head_s:g} s")
        self.force_close()
