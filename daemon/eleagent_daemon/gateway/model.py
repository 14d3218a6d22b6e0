"""What may a session say to the model? The door swaps in the credential, checks each body and counts what it cost."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Final

import msgspec
from aiohttp import web

from eleagent.errors import LimitReached
from eleagent.wire.approvals import ApprovalKind
from eleagent.wire.events import SecurityFinding
from eleagent_daemon.domain.doors import LOCAL, Attempt, Grant, Purse, Unbounded
from eleagent_daemon.domain.limits import Ask
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.prices import PriceList
from eleagent_daemon.gateway.accept import Acceptor
from eleagent_daemon.gateway.asking import AskPerson, ask_person
from eleagent_daemon.gateway.body import BODY_LIMIT_BYTES, CheckedBody, check_body
from eleagent_daemon.gateway.connection import Patience, Server
from eleagent_daemon.gateway.denial import Denied, ForeignCredential, error_json
from eleagent_daemon.gateway.headers import allowed_betas, check_credentials, request_headers, response_headers
from eleagent_daemon.gateway.meter import Meter, meter_for
from eleagent_daemon.gateway.prices import SHIPPED
from eleagent_daemon.gateway.record import Exchange, Recorder, SessionView
from eleagent_daemon.gateway.spending import ask_for, estimate, shortened
from eleagent_daemon.gateway.upstream import Answer, Call, Upstream, UpstreamDown

MESSAGES: Final = frozenset({"/v1/messages", "/v1/messages?beta=true"})
COUNTS: Final = frozenset({"/v1/messages/count_tokens", "/v1/messages/count_tokens?beta=true"})

THREAD_BYTES: Final = 128 * 1024
"""A larger body is checked in a thread: it would hold up the other sessions for milliseconds."""
BUFFER_LIMIT_BYTES: Final = 2 * BODY_LIMIT_BYTES
"""Bodies that one session may have under way together."""
CONNECTION_LIMIT: Final = 24
"""With the tunnel door's 40 a session has at most 64, and idle tunnels can't keep it from its model."""

_REFUSED_KEY: Final = "the provider refused the daemon's credential (HTTP {}): set another key and restart the daemon"


class ModelDoor:
    """Serves one session's model listener until it is closed."""

    def __init__(
        self,
        *,
        listener: socket.socket,
        policy: Policy,
        upstream: Upstream,
        recorder: Recorder,
        view: SessionView,
        turns: asyncio.Semaphore,
        prices: PriceList = SHIPPED,
        purse: Purse = Unbounded(),  # noqa: B008 - it has no state
        ask: AskPerson,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        """`turns` is every session's: one large body is checked at a time, and each session has one in that queue."""
        self._policy = policy
        self._upstream = upstream
        self._ask = ask
        self._recorder = recorder
        self._view = view
        self._prices = prices
        self._purse = purse
        self._buffered = 0
        self._patience = patience
        self._checking = asyncio.Semaphore(1)
        self._turns = turns
        self._closing = False
        self._server = Server(self._handle, patience=patience, malformed=self._malformed)
        self._acceptor = Acceptor(listener=listener, factory=self._server, limit=CONNECTION_LIMIT)
        self._server.lost = self._acceptor.released

    async def close(self) -> None:
        """What is under way is broken off and recorded as such."""
        self._closing = True
        await self._acceptor.close()
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(
            method=_printable(request.method, 20),
            path=_printable(request.raw_path.partition("?")[0], 200),  # a query can hold a key
            turn=request.method == "POST" and request.raw_path in MESSAGES,
        )
        self._view.begin(exchange)
        try:
            return await self._answer(request, exchange)
        except Denied as denied:
            exchange.refuse(denied)
            if isinstance(denied, ForeignCredential):
                detail = f"{exchange.method} {exchange.path} carried a foreign credential in {denied.carrier}"
                await self._recorder.record(SecurityFinding(kind="foreign_credential", detail=detail))
            return _error(denied.http_status, denied.message)
        except UpstreamDown as down:
            exchange.fail(502, down.message)
            return _error(502, f"EleAgent: {down.message}")
        except (asyncio.CancelledError, ConnectionError):
            exchange.reason = exchange.reason or f"broken off by the {'gateway' if self._closing else 'agent'}"
            raise
        finally:
            self._buffered -= exchange.bytes_up
            self._view.end(exchange)
            await self._recorder.record(exchange.event(), admitted=exchange.admitted)

    def _malformed(self, what: str) -> None:
        exchange = Exchange(method="", path="")
        exchange.refuse(Denied("malformed", f"EleAgent: {what}", http_status=400))
        self._view.end(exchange)
        self._recorder.note(exchange.event())

    async def _answer(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        self._recorder.check()
        credential = check_credentials(request.headers.items())
        if (request.method, request.raw_path) == ("HEAD", "/"):
            # the CLI's look whether somebody is there
            exchange.allowed, exchange.rule, exchange.status = True, LOCAL, 200
            return web.Response()
        if request.method != "POST" or request.raw_path not in MESSAGES | COUNTS:
            allowed = "POST /v1/messages and POST /v1/messages/count_tokens, with no query but beta=true"
            raise Denied(
                "route",
                f"EleAgent: {exchange.method} {exchange.path} is refused; the model door lets through {allowed}",
            )
        if not self._policy.model:
            raise Denied(f"{self._policy.name}: model", f"EleAgent: policy {self._policy.name} gives no model")
        if not credential:
            raise Denied("credential", "EleAgent: the request lacks the placeholder key that this session was given")
        checked = await self._check(await self._read(request, exchange))
        await self._send(len(checked.encoded))
        exchange.model, exchange.offers_tools = checked.model, checked.offers_tools
        if self._policy.approvals.credentials:
            why = f"policy {self._policy.name} asks before a credential is used"
            await ask_person(self._ask, self._policy, ApprovalKind.CREDENTIAL, f"model:{self._upstream.name}", why)
        return await self._forward(request, exchange, checked)

    async def _read(self, request: web.BaseRequest, exchange: Exchange) -> bytes:
        if request.headers.getall("Content-Encoding", []):
            raise Denied("body", "EleAgent: a body with content-encoding is not let through: send it plain")
        if request.content_type != "application/json":
            raise Denied("body", "EleAgent: the body is not application/json", http_status=400)
        body = bytearray()
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(begun + self._patience.body_deadline_s(0)) as due:
                async for chunk in request.content.iter_any():
                    body += chunk
                    due.reschedule(begun + self._patience.body_deadline_s(len(body)))
                    exchange.bytes_up += len(chunk)
                    self._buffered += len(chunk)
                    if len(body) > BODY_LIMIT_BYTES:
                        raise Denied(
                            "body", f"EleAgent: the body is larger than {BODY_LIMIT_BYTES >> 20} MiB", http_status=413
                        )
                    if self._buffered > BUFFER_LIMIT_BYTES:
                        raise Denied("buffer", "EleAgent: too many large requests at once", http_status=429)
        except TimeoutError as error:
            why = f"EleAgent: the body came too slowly, {len(body)} bytes of it"
            raise Denied("body", why, http_status=400) from error
        except web.RequestPayloadError as error:
            raise Denied("malformed", "EleAgent: the body's framing is malformed HTTP", http_status=400) from error
        return bytes(body)

    async def _check(self, raw: bytes) -> CheckedBody:
        if len(raw) <= THREAD_BYTES:
            return check_body(raw, self._policy)
        async with self._checking, self._turns:
            return await asyncio.to_thread(check_body, raw, self._policy)

    async def _forward(self, request: web.BaseRequest, exchange: Exchange, checked: CheckedBody) -> web.StreamResponse:
        attempt = Attempt(
            door="model", rule=self._policy.name, host=self._upstream.name, method=exchange.method, path=exchange.path,
            model=exchange.model,
        )  # fmt: skip
        grant = None
        if exchange.turn:
            ask = ask_for(checked, self._prices.find(checked.model))
            grant = await self._reserve(ask)
            checked = shortened(checked, grant.output_tokens)
            exchange.price = ask.price
        try:
            exchange.admitted = await self._recorder.admit(attempt)
            exchange.allowed, exchange.rule, exchange.upstream = True, self._policy.name, self._upstream.name
            exchange.sent = time.monotonic()
            return await self._pass_on(request, exchange, checked)
        except UpstreamDown:
            exchange.status = exchange.status or 502
            raise
        finally:
            if grant is not None:
                await asyncio.shield(self._pay(exchange, ask, grant))

    async def _send(self, count: int) -> None:
        try:
            await self._purse.send(count)
        except LimitReached as limit:
            raise Denied(limit.limit, f"EleAgent: {limit.message}") from limit
        self._view.traffic += count

    async def _reserve(self, ask: Ask) -> Grant:
        try:
            return await self._purse.reserve(ask)
        except LimitReached as limit:
            raise Denied(limit.limit, f"EleAgent: {limit.message}") from limit

    async def _pay(self, exchange: Exchange, ask: Ask, grant: Grant) -> None:
        """What is broken off before its end, or ends without a word of what it was, counts as all it can have been."""
        sent = bool(exchange.upstream)
        counted = exchange.whole and exchange.usage.tokens
        estimated = sent and exchange.status in (0, 200) and not counted
        if estimated:
            asked_s = time.monotonic() - exchange.sent
            self._view.correct(exchange, exchange.priced(estimate(exchange, ask, grant, asked_s=asked_s)))
        usage = msgspec.structs.replace(exchange.usage, requests=int(sent))
        await self._purse.settle(grant, usage, estimated=estimated)

    async def _pass_on(self, request: web.BaseRequest, exchange: Exchange, checked: CheckedBody) -> web.StreamResponse:
        headers = list(request.headers.items())
        call = Call(
            target=request.raw_path,
            headers=request_headers(headers),
            betas=allowed_betas(headers, self._policy.server_tools),
            body=checked.encoded,
            message=checked.message,
        )
        async with self._upstream.ask(call) as answer:
            exchange.status = answer.status
            if answer.status in (401, 403):
                # never 401: the CLI would retry it for minutes
                exchange.fail(403, _REFUSED_KEY.format(answer.status))
                return _error(403, f"EleAgent: {exchange.reason}")
            response = web.StreamResponse(status=answer.status, headers=response_headers(answer.headers))
            await response.prepare(request)
            meter = meter_for(answer.headers.get("content-type", ""))
            try:
                await self._relay(answer, response, exchange, meter)
            except UpstreamDown as down:
                exchange.fail(exchange.status, down.message)
                self._settle(exchange, meter)
                await _break_off(response, request, down.message)
            finally:
                exchange.read(meter)
            return response

    async def _relay(self, answer: Answer, response: web.StreamResponse, exchange: Exchange, meter: Meter) -> None:
        async for chunk in answer.chunks:
            meter.feed(chunk)
            if meter.complete:
                self._settle(exchange, meter)
            exchange.bytes_down += len(chunk)
            self._view.traffic += len(chunk)
            await response.write(chunk)
        meter.end()
        if not meter.complete and not meter.error:
            raise UpstreamDown(f"the model's upstream {self._upstream.name} broke off its answer")
        self._settle(exchange, meter)
        await response.write_eof()

    def _settle(self, exchange: Exchange, meter: Meter) -> None:
        """Before the agent can see the end, so that who hears of it from the agent finds it here."""
        exchange.whole = meter.complete
        exchange.read(meter)
        self._view.end(exchange)


def _error(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=error_json(status, message), content_type="application/json")


async def _break_off(response: web.StreamResponse, request: web.BaseRequest, message: str) -> None:
    """Tell the agent in the stream where it is one; else only a torn connection says that the answer is not whole."""
    if response.content_type == "text/event-stream":
        await response.write(b"\n\nevent: error\ndata: " + error_json(502, f"EleAgent: {message}") + b"\n\n")
        await response.write_eof()
    elif request.transport is not None:
        request.transport.abort()


def _printable(text: str, limit: int) -> str:
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in text[:limit])
