"""What does every request pass, in which order?

identify → refuse a foreign Host or any Origin → authorise: may this caller do that at all, is the thing there for it,
does the permission reach it → decode → audit intent → handle → audit outcome → answer.
A handler is reached through here alone.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from aiohttp.hdrs import METH_ANY

from eleagent.errors import (
    BadRequest,
    EleAgentError,
    NotFound,
    Refused,
    StepUp,
    Throttled,
    TooLarge,
    Unauthenticated,
    WrongMethod,
)
from eleagent.operations.operation import Body, Kind, Operation
from eleagent.permissions import Reach
from eleagent.transparency import AUDIT_HEADER
from eleagent.version import VERSION_HEADER, __version__, check_skew
from eleagent.wire.logins import Via
from eleagent.wire.sessions import KEY_PATTERN
from eleagent_daemon.api.answer import answer, problem
from eleagent_daemon.api.identity import Caller, Doorkeeper, peer_name, peer_of
from eleagent_daemon.api.refusals import Refusals
from eleagent_daemon.api.trail import Trail
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.store.ledger import Ledger

log = logging.getLogger(__name__)

REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
BODY_S: Final = 30.0
"""For a body of JSON to arrive."""

STEP_UP_S: Final = 300.0
_LOCAL_HOSTS: Final = frozenset({"", "eleagent", "localhost"})


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a handler gets: a caller who may, decoded parameters and body. `token` is the Idempotency-Key; what it puts
    into `noted` the audit log gets with the outcome.
    """

    operation: Operation
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    token: str | None
    request: web.Request
    noted: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Any]]
Handlers = Mapping[Operation, Handler]

Disclosed = Callable[[Owned, str, str, str], Awaitable[None]]
"""That what is another's is about to be read: the thing, by whom, by which act, and why. Returns when that is kept."""

Resolver = Callable[[str, Sight], Awaitable[Owned]]
"""What a person wrote for a thing of one kind → the thing. What is not in sight is not there: raises NotFound."""


class Pipeline:
    """`doorkeeper` tells who is calling. `resolvers` find whose a thing is, one for each kind, so that handlers and
    records see ids alone. `disclosed` is told of what is read by one with whom it is not shared. `hosts` are the names
    by which the daemon is called over TCP.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        doorkeeper: Doorkeeper,
        resolvers: Mapping[Kind, Resolver],
        disclosed: Disclosed | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._ledger = ledger
        self._trail = Trail(ledger=ledger)
        self._refusals = Refusals(ledger=ledger)
        self._doorkeeper = doorkeeper
        self._resolvers = resolvers
        self._disclosed = disclosed
        self._hosts = hosts

    def route(self, operation: Operation, handler: Handler) -> web.RouteDef:
        """Raises RuntimeError for an operation on things whose owner nobody finds."""
        if operation.target is not None and operation.target not in self._resolvers:
            raise RuntimeError(f"operation {operation.id}: no resolver tells whose a {operation.target.name} is")

        async def serve(request: web.Request) -> web.StreamResponse:
            return await _answered(partial(self._serve, operation, handler, request))

        only_this = {"allow_head": False} if operation.method == "GET" else {}
        return web.route(operation.method, operation.path, serve, **only_this)

    def no_operation(self, operations: Sequence[Operation]) -> web.RouteDef:
        """What every request gets that is none of `operations`."""
        places = [(re.compile(re.sub(r"{\w+}", "[^/]+", one.path)), one.method) for one in operations]

        async def refuse(request: web.Request, identifier: str) -> web.StreamResponse:
            await self._meet(request, identifier, None)
            if allow := sorted({method for form, method in places if form.fullmatch(request.path)}):
                there = f"{request.path} is for {', '.join(allow)}, not for {request.method}"
                raise WrongMethod(there, allow=allow)
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
        caller = await self._meet(request, identifier, operation)
        await self._authorise(operation, caller, request.match_info, identifier)
        check_skew(__version__, request.headers.get(VERSION_HEADER), side="client")
        path = dict(request.match_info)
        query = _query(operation, request)
        thing = None
        if operation.target is not None:
            named = operation.target_parameter
            thing = await self._reach(operation, caller, path[named], query.get("reason", ""), identifier)
            path[named] = thing.id
        call = Call(
            operation=operation,
            caller=caller,
            path=path,
            query=query,
            body=await _body(operation, request),
            token=request.headers.get("Idempotency-Key"),
            request=request,
        )
        opened = await self._trail.begin(call, identifier)
        try:
            if thing is not None and self._disclosed is not None and is_disclosed(operation, caller, thing):
                await self._disclosed(thing, caller.name, operation.audit, query["reason"])
            result = await handler(call)
            still = partial(self._still, operation, caller, thing)
            response, outcome = await answer(operation, request, result, identifier, still=still)
        except EleAgentError as err:
            decision = "refused" if err.status < 500 else "allowed"
            await self._trail.finish(opened, err.code, decision=decision, noted=call.noted)
            raise
        except BaseException:
            await self._trail.finish(opened, "broken_off", noted=call.noted)
            raise
        await self._trail.finish(opened, outcome, session=_session_of(result), noted=call.noted)
        return response

    async def _authorise(self, operation: Operation, caller: Caller, path: Mapping[str, str], identifier: str) -> None:
        """Whether this caller may do that at all."""
        try:
            check_permission(operation, caller)
        except Refused:
            target = "/".join(path.values())
            await self._trail.denied(operation, caller, target=target, request=identifier)
            raise

    async def _reach(self, operation: Operation, caller: Caller, text: str, reason: str, identifier: str) -> Owned:
        """The thing that is meant, over which the caller's permission reaches; what it may not see is not there."""
        kind = operation.target
        assert kind is not None  # noqa: S101  # asked for operations on things alone
        thing = await self._resolvers[kind](text, caller.sight(kind.seen_with))
        try:
            check_reach(operation, caller, thing, reason)
        except Refused:
            await self._trail.denied(operation, caller, target=thing.id, request=identifier)
            raise
        return thing

    def _still(self, operation: Operation, caller: Caller, thing: Owned | None) -> None:
        """Raises Refused or Unauthenticated once the caller may not do any more what it is doing."""
        now = self._doorkeeper.again(caller)
        check_permission(operation, now)
        if thing is not None and not now.sight(operation.permission).reaches(thing):
            raise Refused(f"{now.name} ({now.role}) may not {operation.audit} here any more")

    async def _meet(self, request: web.Request, identifier: str, operation: Operation | None) -> Caller:
        """Who is calling. Who is refused here is recorded."""
        meet = self._doorkeeper.visitor if operation is not None and operation.anyone else self._doorkeeper.identify
        try:
            _refuse_foreign(request, self._hosts)
            return await meet(request)
        except (Refused, Unauthenticated, Throttled) as err:
            action = operation.audit if operation is not None else ""
            await self._refusals.record(actor=peer_name(request), action=action, why=err.message, request=identifier)
            raise


async def _answered(work: Callable[[str], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """The answer of `work`, which gets the request's id; what goes wrong becomes a problem."""
    identifier = secrets.token_hex(8)
    REQUEST_ID.set(identifier)
    try:
        return await work(identifier)
    except EleAgentError as err:
        return problem(err, identifier)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("request %s failed", identifier)
        return problem(EleAgentError(f"internal error; the daemon's log has it under request {identifier}"), identifier)


def _refuse_foreign(request: web.Request, hosts: frozenset[str]) -> None:
    """A browser that was led here says so in Host or Origin."""
    known = _LOCAL_HOSTS if peer_of(request) is not None else hosts
    given = request.headers.getall("Host", [""])
    if len(given) != 1 or host_of(given[0]) not in known or "Origin" in request.headers:
        raise Refused("requests for another host or from a web page are refused")


def host_of(text: str) -> str:
    """The name in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, in small letters."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]@/\s]*))(?::\d{1,5})?", text, re.ASCII)
    return (match[1] or match[2] or "").lower() if match else "?"


def check_permission(operation: Operation, caller: Caller) -> None:
    """Raises Refused for a caller who may not do that to anything."""
    if operation.anyone:
        return
    if not caller.reach(operation.permission):
        raise Refused(f"{caller.name} ({caller.role}) may not {operation.audit}: it needs {operation.permission}")
    if operation.here and caller.via is not Via.SOCKET:
        raise Refused(f"{operation.audit} is for the server's own socket: there, or with --host ssh://SERVER")
    if operation.step_up and caller.via is not Via.SOCKET:
        if caller.confirmed is None:
            raise Refused(f"{operation.audit} takes a person who has just given a password: an API key can't do it")
        if time.time() - caller.confirmed > STEP_UP_S:
            raise StepUp(
                f"{operation.audit} takes a password that was given in the last {STEP_UP_S / 60:g} minutes:"
                " give it once more (POST /v1/login/confirm)"
            )


def check_reach(operation: Operation, caller: Caller, thing: Owned, reason: str) -> None:
    """Raises Refused for a thing that the caller may see, but not do that to."""
    sight = caller.sight(operation.permission)
    if not sight.reaches(thing):
        raise Refused(
            f"{caller.name} ({caller.role}) may not {operation.audit} on {thing.id}, which is {thing.owner}'s:"
            f" it needs {operation.permission} over what is others'"
        )
    if is_disclosed(operation, caller, thing) and not reason.strip():
        raise Refused(f"{thing.id} is {thing.owner}'s: say why you read it (--because TEXT); the audit log has it then")


def is_disclosed(operation: Operation, caller: Caller, thing: Owned) -> bool:
    """Whether content is read that is neither the caller's nor shared with him."""
    return operation.discloses and caller.sight(operation.permission).needs(thing) == Reach.ANY


def _query(operation: Operation, request: web.Request) -> dict[str, Any]:
    known = operation.queries
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
    try:
        async with asyncio.timeout(BODY_S):
            data = await _read(request, operation.limit_bytes)
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_S:g} s") from None
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


async def _read(request: web.Request, limit_bytes: int) -> bytes:
    """The body, of which no more than `limit_bytes` is ever held. Raises TooLarge."""
    declared, data = request.content_length or 0, bytearray()
    if declared > limit_bytes:
        raise TooLarge(f"the body has {declared} bytes, {limit_bytes} are allowed")
    async for piece in request.content.iter_any():
        data += piece
        if len(data) > limit_bytes:
            raise TooLarge(f"the body has more than the {limit_bytes} bytes that are allowed")
    return bytes(data)


def _session_of(result: Any) -> str:
    """The key of the session that an answer is about; what else has a key is none."""
    key = getattr(result, "key", None)
    return key if isinstance(key, str) and re.match(KEY_PATTERN, key) else ""
