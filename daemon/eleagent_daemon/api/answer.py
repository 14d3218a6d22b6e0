"""How does what came of a request reach the caller: as JSON, as a stream, or as a problem?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from eleagent.errors import PROBLEM_TYPE, EleAgentError, Refused, Unauthenticated, VersionSkew, WrongMethod
from eleagent.operations.operation import Answer, Operation
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.timeline import Notice

log = logging.getLogger(__name__)

_GONE_CHECK_S: Final = 0.5
_encoder = msgspec.json.Encoder()
_T = TypeVar("_T")


@dataclass(frozen=True)
class Stream:
    """A streamed answer: chunks of NDJSON or bytes; `length` where it is known. It is closed when its end is reached or
    the caller is gone; `release` gives back what they are read from, even when the first was never asked for.
    """

    chunks: AsyncGenerator[bytes, None]
    length: int | None = None
    release: Callable[[], None] = lambda: None


async def answer(
    operation: Operation, request: web.Request, result: Any, identifier: str, *, still: Callable[[], None]
) -> tuple[web.StreamResponse, str]:
    """The response and the outcome of request `identifier`: a stream is sent here and may fail after it has begun.

    `still` raises once the caller may not have it any more: then a stream ends.
    """
    headers = {VERSION_HEADER: __version__, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    if operation.answer is Answer.JSON:
        body = _encoder.encode(result)
        made = web.Response(body=body, status=operation.status, content_type="application/json", headers=headers)
        return made, "done"
    response = web.StreamResponse(status=operation.status, headers=headers)
    response.content_type = "application/x-ndjson" if operation.answer is Answer.NDJSON else "application/octet-stream"
    if result.length is not None:
        response.content_length = result.length
    try:
        return response, await _while_met(request, _send(operation, request, response, result, identifier), still)
    except (Refused, Unauthenticated) as err:
        await _turn_out(operation, request, response, err.message)
        return response, err.code
    finally:
        result.release()


async def _while_met(request: web.Request, work: Coroutine[Any, Any, _T], still: Callable[[], None]) -> _T:
    """The result of `work`, which waits for an event perhaps. Raises ConnectionResetError once the caller has left, and
    what `still` raises.
    """
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            await asyncio.wait({working}, timeout=_GONE_CHECK_S)
            if working.done():
                break
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the caller is gone")
            still()
        return working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _send(
    operation: Operation, request: web.Request, response: web.StreamResponse, result: Stream, identifier: str
) -> str:
    """Returns the outcome."""
    outcome = "done"
    async with aclosing(result.chunks) as chunks:
        await response.prepare(request)
        try:
            async for chunk in chunks:
                await response.write(chunk)
        except ConnectionError:
            raise
        except EleAgentError as err:
            outcome = err.code
            await _break_off(operation, request, response, err.message)
        except Exception:
            log.exception("request %s (%s) failed in its answer", identifier, operation.id)
            outcome = "broken_off"
            await _break_off(operation, request, response, f"internal error in request {identifier}")
    await response.write_eof()
    return outcome


async def _turn_out(operation: Operation, request: web.Request, response: web.StreamResponse, why: str) -> None:
    """End the stream of one who may not have it any more; one that does not read is not waited for."""
    try:
        async with asyncio.timeout(_GONE_CHECK_S):
            await _break_off(operation, request, response, why)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()


async def _break_off(operation: Operation, request: web.Request, response: web.StreamResponse, why: str) -> None:
    """Say in a stream that has begun that it ends here: by an error notice, where it has none by hanging up."""
    if operation.answer is Answer.NDJSON:
        await response.write(_encoder.encode(Notice(notice="error", text=why)) + b"\n")
    elif request.transport is not None:
        request.transport.abort()


def problem(err: EleAgentError, identifier: str) -> web.Response:
    body = _encoder.encode(err.to_problem() | {"instance": f"urn:eleagent:request:{identifier}"})
    headers = {VERSION_HEADER: __version__, "Cache-Control": "no-store"}
    if isinstance(err, VersionSkew):
        headers["Upgrade"] = f"eleagent/{__version__}"
    if isinstance(err, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(err, WrongMethod) and "allow" in err.fields:
        headers["Allow"] = ", ".join(err.fields["allow"])
    if "retry_after_s" in err.fields:
        headers["Retry-After"] = str(err.fields["retry_after_s"])
    return web.Response(body=body, status=err.status, content_type=PROBLEM_TYPE, headers=headers)
