"""How does an asynchronous program (the TUI) call the daemon's operations? As `api` does, over aiohttp."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp.client_proto import ResponseHandler

from eleagent.client.address import Address, way_to
from eleagent.client.exchange import (
    PATIENCE_S,
    Cursor,
    Request,
    StreamBroken,
    check_answer,
    decode,
    decode_line,
    is_wrong_password,
    request_for,
)  # fmt: skip
from eleagent.client.stepup import AskPasswordSoon, confirmation
from eleagent.client.transport import ANSWER_TIMEOUT_S
from eleagent.client.witness import Witness, unproved
from eleagent.errors import AuditUnavailable, EleAgentError, NotFound, StepUp, Unauthenticated
from eleagent.operations.audit import AUDIT_HEAD
from eleagent.operations.operation import Operation
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_GET
from eleagent.transparency import AUDIT_HEADER
from eleagent.version import VERSION_HEADER
from eleagent.wire.sessions import SessionDetail
from eleagent.wire.timeline import Event, Notice

if TYPE_CHECKING:
    from eleagent.client.way import Way


class AsyncClient:
    """An asynchronous client, used as `async with AsyncClient(at=…) as client`.

    `audit_head` is what the last answer told of the audit log, for a Witness.

    `ask_password` is asked where the daemon wants the login's password once more; the call is made again then.
    """

    def __init__(
        self, *, at: Address, patience_s: float = PATIENCE_S, ask_password: AskPasswordSoon | None = None
    ) -> None:
        self._ask_password = ask_password
        self._way = way_to(at)
        self._patience_s = patience_s
        self._http: aiohttp.ClientSession
        self.audit_head: str | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            f"http://{self._way.host}",
            connector=_Connector(self._way),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=ANSWER_TIMEOUT_S),
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.close()

    async def call(
        self, operation: Operation, *, body: Any = None, query: Mapping[str, Any] | None = None, **path: str
    ) -> Any:
        """The operation's result."""
        async with self._send(operation, body, query, path) as answer:
            return decode(operation, await answer.read())

    async def stream(
        self, operation: Operation, *, body: Any = None, query: Mapping[str, Any] | None = None, **path: str
    ) -> AsyncIterator[Any]:
        """The decoded lines of an NDJSON answer up to its proper end; StreamBroken when it ends before."""
        async with self._send(operation, body, query, path, wait_s=None) as answer:
            rest = b""
            async for piece in answer.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield decode_line(operation, line)
            if rest:
                raise StreamBroken("the daemon's answer broke off in the middle of a line")

    async def follow(self, key: str, *, after: int = 0, preview: bool = False) -> AsyncIterator[Event | Notice]:
        """A session's events after `after` until the session ends, each once, also across a restart of the daemon."""
        clock = asyncio.get_running_loop().time
        cursor = Cursor(after=after, now=clock(), patience_s=self._patience_s)
        while True:
            query = {"after": cursor.after, "follow": True, "preview": preview or None}
            try:
                async for item in self.stream(SESSION_EVENTS, query=query, key=key):
                    if cursor.admits(item, clock()):
                        yield item
                if cursor.ended:
                    return
                detail: SessionDetail = await self.call(SESSION_GET, key=key)
                if cursor.reached_end(detail.session):
                    return
            except EleAgentError as error:
                cursor.retry(error, clock())
            await asyncio.sleep(self._way.retry_s)

    async def download(
        self, operation: Operation, *, query: Mapping[str, Any] | None = None, **path: str
    ) -> AsyncIterator[bytes]:
        """The pieces of a raw answer up to its proper end."""
        async with self._send(operation, None, query, path) as answer:
            async for piece in answer.content.iter_any():
                yield piece

    async def bear_witness(self, witness: Witness) -> None:
        """Hold what the last answer told of the audit log against what was seen before, signatures too, and remember
        it. Raises Forked, OtherLog, and what a call raises.
        """
        size = await asyncio.to_thread(witness.question, self.audit_head, thorough=True)
        if size is None:
            return
        try:
            head = await self.call(AUDIT_HEAD, query={"from_size": size})
        except (NotFound, AuditUnavailable) as error:
            raise unproved(error) from error
        await asyncio.to_thread(witness.take, head, thorough=True)

    @asynccontextmanager
    async def _send(
        self,
        operation: Operation,
        body: Any,
        query: Mapping[str, Any] | None,
        path: Mapping[str, str],
        wait_s: float | None = ANSWER_TIMEOUT_S,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        request = request_for(operation, body=body, query=query, path=path)
        async with AsyncExitStack() as opened:
            try:
                answer = await opened.enter_async_context(self._known(request, wait_s))
            except StepUp as why:
                if self._ask_password is None:
                    raise
                await self.confirm(await self._ask_password(why))
                answer = await opened.enter_async_context(self._known(request, wait_s))
            yield answer

    async def confirm(self, password: str) -> None:
        """Give the login's password once more. Raises Unauthenticated for a wrong one."""
        async with self._known(confirmation(password), ANSWER_TIMEOUT_S) as answer:
            await answer.read()

    @asynccontextmanager
    async def _known(self, request: Request, wait_s: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Who is not known any more says anew who is calling."""
        async with AsyncExitStack() as opened:
            try:
                answer = await opened.enter_async_context(self._once(request, wait_s))
            except Unauthenticated as error:
                if request.anonymous or is_wrong_password(error) or not await asyncio.to_thread(self._way.renew):
                    raise
                answer = await opened.enter_async_context(self._once(request, wait_s))
            yield answer

    @asynccontextmanager
    async def _once(self, request: Request, wait_s: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        who = {} if request.anonymous else await asyncio.to_thread(self._way.headers)
        headers = {**who, **request.headers}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=wait_s)
        answered = False
        try:
            async with self._http.request(
                request.method,
                request.target,
                data=None if request.content is None else BytesIO(request.content),
                headers=headers,
                timeout=timeout,
            ) as answer:
                answered = self._way.worked = True
                self.audit_head = answer.headers.get(AUDIT_HEADER)
                content = await answer.read() if answer.status >= 400 else None
                check_answer(answer.status, answer.headers.get(VERSION_HEADER), content)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            if not answered and (why := await asyncio.to_thread(self._way.why_lost)):
                raise why from error
            raise StreamBroken(f"the connection to the daemon broke: {error}") from error


class _Connector(aiohttp.BaseConnector):
    """aiohttp's connections, made as a Way makes them."""

    def __init__(self, way: Way) -> None:
        super().__init__(limit=0)
        self._way = way

    async def _create_connection(self, *_: Any) -> ResponseHandler:
        way = self._way
        sock = await self._connected()
        sock.setblocking(False)
        try:
            server = way.server if way.tls else None
            made = await self._loop.create_connection(self._factory, sock=sock, ssl=way.tls, server_hostname=server)
        except OSError as error:
            raise way.explain(error) from error
        return made[1]

    async def _connected(self) -> socket.socket:
        """One that comes when nobody waits for it any more is closed."""
        made = self._loop.run_in_executor(None, self._way.connect)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_close)
            raise


def _close(made: asyncio.Future[socket.socket]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().close()
