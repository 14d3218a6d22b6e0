"""What does every request pass, in which order?

identify → refuse a foreign Host or any Origin → authorise → decode → audit intent → handle → audit outcome → answer.
A handler is reached through here alone.
"""

from __future__ import annotations

import base64
import contextvars
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.hdrs import METH_ANY

from eleagent.client.witness import AUDIT_HEADER
from eleagent.errors import (
    BadRequest,
    EleAgentError,
    NotFound,
    Refused,
    TooLarge,
)
from eleagent.operations.operation import Body, Operation
from eleagent.permissions import may
from eleagent.version import VERSION_HEADER, __version__, check_skew
from eleagent_daemon.api.answer import answer, problem
from eleagent_daemon.api.identity import Caller, identify, peer_name
from eleagent_daemon.api.refusals import Refusals
from eleagent_daemon.api.trail import Trail
from eleagent_daemon.store.ledger import Ledger

log = logging.getLogger(__name__)

REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
_LOCAL_HOSTS: Final = frozenset({"", "eleagent", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a handler gets: a caller who may, decoded parameters and body. `token` is the Idempotency-Key."""

    operation: Operation
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    token: str | None
    request: web.Request


Handler = Callable[[Call], Awaitable[Any]]
Handlers = Mapping[Operation, Handler]

Resolver = Callable[[str, Caller], Awaitable[str]]
Identifier = Callable[[web.Request], Caller]


class Pipeline:
    """`resolve` turns what a person wrote for `{key}` into a session's key, so that handlers and records see keys
    alone. `identify` tells who is calling or raises Refused.
    """

    def __init__(self, *, ledger: Ledger, resolve: Resolver, identify: Identifier = identify) -> None:
        self._ledger = ledger
        self._trail = Trail(ledger=ledger)
        self._refusals = Refusals(ledger=ledger)
        self._resolve = resolve
        self._identify = identify

    def route(self, operation: Operation, handler: Handler) -> web.RouteDef:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await _answered(partial(self._serve, operation, handler, request))

        only_this = {"allow_head": False} if operation.method == "GET" else {}
        return web.route(operation.method, operation.path, serve, **only_this)

    def no_operation(self) -> web.RouteDef:
        """What every request gets that is none of the table."""

        async def refuse(request: web.Request, identifier: str) -> web.StreamResponse:
            await self._meet(request, identifier, action="")
            raise NotFound(f"there is no operation {request.method} {request.path}")

        async def serve(request: web.Request) -> web.StreamResponse:
            return await _answered(partial(refuse, request))

        return web.route(METH_ANY, "/{path:.*}", serve)

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Every answer tells how far the audit log is signed, so that each client can hold the next one against it."""
        if (signed := self._ledger.signed) is not None:
            root = base64.b64encode(signed.root).decode()
            response.headers[AUDIT_HEADER] = f"{signed.origin} {signed.size} {root}"

    async def _serve(
        self, operation: Operation, handler: Handler, request: web.Request, identifier: str
    ) -> web.StreamResponse:
        caller = await self._meet(request, identifier, action=operation.audit)
        if not may(caller.role, operation.permission):
            target = "/".join(request.match_info.values())
            await self._trail.denied(operation, caller, target=target, request=identifier)
            raise Refused(f"{caller.name} ({caller.role}) may not {operation.audit}: it needs {operation.permission}")
        check_skew(__version__, request.headers.get(VERSION_HEADER), side="client")
        path = dict(request.match_info)
        if "key" in path:
            path["key"] = await self._resolve(path["key"], caller)
        call = Call(
            operation=operation,
            caller=caller,
            path=path,
            query=_query(operation, request),
            body=await _body(operation, request),
            token=request.headers.get("Idempotency-Key"),
            request=request,
        )
        opened = await self._trail.begin(call, identifier)
        try:
            result = await handler(call)
            response, outcome = await answer(operation, request, result, identifier)
        except EleAgentError as err:
            decision = "refused" if err.status < 500 else "allowed"
            await self._trail.finish(opened, err.code, decision=decision)
            raise
        except BaseException:
            await self._trail.finish(opened, "broken_off")
            raise
        await self._trail.finish(opened, outcome, session=_session_of(result))
        return response

    async def _meet(self, request: web.Request, identifier: str, *, action: str) -> Caller:
        """Who is calling. Who is refused here is recorded."""
        try:
            caller = self._identify(request)
            _refuse_foreign(request)
        except Refused as err:
            await self._refusals.record(actor=peer_name(request), action=action, why=err.message, request=identifier)
            raise
        return caller


async def _answered(work: Callable[[str], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """The answer of `work`, which gets the request's id; what goes wrong becomes a problem."""
    identifier = secrets.token_hex(8)
    REQUEST_ID.set(identifier)
    try:
        return await work(identifier)
    except EleAgentError as err:
        return problem(err, identifier)
    except web.HTTPRequestEntityTooLarge:
        return problem(TooLarge("the body is larger than the 1 MiB that are allowed"), identifier)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("request %s failed", identifier)
        return problem(EleAgentError(f"internal error; the daemon's log has it under request {identifier}"), identifier)


def _refuse_foreign(request: web.Request) -> None:
    """A browser that was led here says so in Host or Origin."""
    host = request.headers.get("Host", "").rpartition(":")[0] or request.headers.get("Host", "")
    if host not in _LOCAL_HOSTS or "Origin" in request.headers:
        raise Refused("requests for another host or from a web page are refused")


def _query(operation: Operation, request: web.Request) -> dict[str, Any]:
    known = dict(operation.query)
    values: dict[str, Any] = {}
    for name, text in request.query.items():
        if name not in known:
            raise BadRequest(
                f"query parameter {name!r} is not one of {operation.id}: {', '.join(known) or 'it has none'}"
            )
        if name in values:
            raise BadRequest(f"query parameter {name!r} is given twice")
        try:
            values[name] = text if known[name] is str else msgspec.convert(text, known[name], strict=False)
        except msgspec.ValidationError:
            raise BadRequest(f"query parameter {name}={text!r} is not of type {known[name].__name__}") from None
        if known[name] is int and not 0 <= values[name] < 1 << 53:
            raise BadRequest(f"query parameter {name}={text!r} is out of range")
    return values


async def _body(operation: Operation, request: web.Request) -> Any:
    if operation.body_kind is Body.BYTES:
        return None
    declared = request.content_length or 0
    if declared > operation.limit_bytes:
        raise TooLarge(f"the body has {declared} bytes, {operation.limit_bytes} are allowed")
    data = await request.read()
    if operation.body is None:
        if data:
            raise BadRequest(f"{operation.id} takes no body")
        return None
    if request.content_type != "application/json":
        raise BadRequest(f"the body is {request.content_type!r}, it must be application/json")
    try:
        return msgspec.json.decode(data, type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise BadRequest(f"the body is not a valid {operation.body.__name__}: {err}") from None


def _session_of(result: Any) -> str:
    return str(getattr(result, "key", "") or "")
