"""What may a session do with itself? The door for the operations of its own, and for nothing else.

The listener says which session speaks; the token in the sandbox's environment must be that session's too. It opens no
other door and is worth nothing anywhere else.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from eleagent.errors import PROBLEM_TYPE, BadRequest, EleAgentError, NotFound, Throttled, TooLarge, Unauthenticated
from eleagent.operations.inside import INSIDE, OWN_APPROVAL, OWN_ASK, OWN_END, OWN_GET, OWN_REPORT
from eleagent.operations.operation import Operation
from eleagent.wire.events import SecurityFinding
from eleagent.wire.inside import TOKEN_VARIABLE
from eleagent_daemon.domain.doors import Self
from eleagent_daemon.domain.pace import Pace
from eleagent_daemon.gateway.accept import Acceptor
from eleagent_daemon.gateway.connection import Patience, Server
from eleagent_daemon.gateway.record import Recorder

BODY_LIMIT_BYTES: Final = 16 * 1024
BODY_S: Final = 10.0
CONNECTION_LIMIT: Final = 8
WAIT_MOST_S: Final = 60
BURST: Final = 30
PER_S: Final = 0.5
"""What is said at this door is kept: more than a person would read is refused."""

_PATHS: Final = {
    operation: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]{1,100})", operation.path)) for operation in INSIDE
}


class SessionDoor:
    """Serves one session's own listener until it is closed. `own` is the session, `tokens` what it may show."""

    def __init__(self, *, listener: socket.socket, tokens: Sequence[str], own: Self, recorder: Recorder) -> None:
        self._tokens = tuple(tokens)
        self._own = own
        self._recorder = recorder
        self._pace = Pace(burst=BURST, per_s=PER_S)
        self._server = Server(self._handle, patience=Patience(), malformed=self._malformed, refusal=_malformed_problem)
        self._acceptor = Acceptor(listener=listener, factory=self._server, limit=CONNECTION_LIMIT)
        self._server.lost = self._acceptor.released

    async def close(self) -> None:
        await self._acceptor.close()
        await self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._answer(request)
        except EleAgentError as err:
            response = _problem(err)
        response.force_close()  # so that idle connections keep nobody out
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        asked = f"{request.method[:10]} {request.path[:100]}"
        if not self._is_ours(request):
            await self._found(f"{asked!r} came without this session's token")
            raise Unauthenticated(f"this door takes this session's own token: Authorization: Bearer ${TOKEN_VARIABLE}")
        for operation, form in _PATHS.items():
            match = form.fullmatch(request.path)
            if match is not None and request.method == operation.method:
                query, body = _query(operation, request), await _body(operation, request)
                if operation.body is not None and not self._pace.take():
                    raise Throttled("a session may say so much and no more: come back in 2 s", retry_after_s=2)
                result = await self._do(operation, match.groupdict(), query, body)
                return _json(operation.status, result)
        await self._found(f"{asked!r} is nothing that a session may do with itself")
        own = ", ".join(f"{one.method} {one.path}" for one in INSIDE)
        raise NotFound(f"there is no {asked!r} at a session's own door; there is {own}")

    async def _do(self, operation: Operation, path: Mapping[str, str], query: Mapping[str, int], body: Any) -> Any:
        match operation.id:
            case OWN_GET.id:
                return self._own.read()
            case OWN_REPORT.id:
                return await self._own.report(body.text)
            case OWN_ASK.id:
                return await self._own.ask(body)
            case OWN_APPROVAL.id:
                return await self._own.approval(path["id"], min(query.get("wait_s", 0), WAIT_MOST_S))
            case OWN_END.id:
                return await self._own.end()
        raise AssertionError(f"the session door does not know {operation.id}")

    def _is_ours(self, request: web.BaseRequest) -> bool:
        given = request.headers.getall("Authorization", [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        shown = token.encode(errors="replace")
        return scheme.lower() == "bearer" and any(hmac.compare_digest(shown, one.encode()) for one in self._tokens)

    async def _found(self, detail: str) -> None:
        await self._recorder.record(SecurityFinding(kind="session_door", detail=detail))

    def _malformed(self, what: str) -> None:
        self._recorder.note(SecurityFinding(kind="session_door", detail=what))


def _query(operation: Operation, request: web.BaseRequest) -> dict[str, int]:
    """Every parameter at this door is a number. Raises BadRequest."""
    for name, text in request.query.items():
        if name not in operation.queries or not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII):
            known = ", ".join(operation.queries) or "none"
            raise BadRequest(
                f"query parameter {name[:50]}={text[:50]!r}: {operation.id} has {known}, which are numbers"
            )
    return {name: int(text) for name, text in request.query.items()}


async def _body(operation: Operation, request: web.BaseRequest) -> Any:
    """Raises BadRequest and TooLarge."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > BODY_LIMIT_BYTES:
                    raise TooLarge(f"the body is larger than {BODY_LIMIT_BYTES >> 10} KiB")
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {BODY_S:g} s") from None
    except web.RequestPayloadError:
        raise BadRequest("the body's framing is malformed HTTP") from None
    if operation.body is None:
        return None
    try:
        return msgspec.json.decode(data, type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise BadRequest(f"the body is not a valid {operation.body.__name__}: {err}") from None


def _json(status: int, result: Any) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(result), content_type="application/json")


def _problem(err: EleAgentError) -> web.Response:
    headers = {"Retry-After": str(err.fields["retry_after_s"])} if "retry_after_s" in err.fields else {}
    body = msgspec.json.encode(err.to_problem())
    return web.Response(status=err.status, body=body, content_type=PROBLEM_TYPE, headers=headers)


def _malformed_problem(_: int, message: str) -> bytes:
    return msgspec.json.encode(BadRequest(message).to_problem())
