"""What does each operation on sessions do?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import msgspec

from eleagent.errors import BadRequest, Conflict
from eleagent.operations.sessions import (
    SESSION_CREATE,
    SESSION_EVENTS,
    SESSION_FIND,
    SESSION_GET,
    SESSION_HANDOVER,
    SESSION_INPUT,
    SESSION_INTERRUPT,
    SESSION_LIMITS,
    SESSION_LIST,
    SESSION_PAUSE,
    SESSION_RENAME,
    SESSION_RESUME,
    SESSION_STOP,
    SESSION_UNPAUSE,
)
from eleagent.permissions import Permission, Reach
from eleagent.wire.events import TYPES
from eleagent.wire.sessions import Accepted, Found, InputAccepted, Session, SessionCreate, SessionDetail, SessionList
from eleagent.wire.timeline import Notice
from eleagent.wire.wanted import Wanted
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.identity import NOBODY
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.identity.projects import Projects, Start
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.store.timeline import Timelines

BEHIND_BYTES: Final = 4 << 20
"""A watcher that is further behind than this is told so."""

_LIST_LIMIT: Final = 1000
_LIST_MOST: Final = 10_000
_FIND_MOST: Final = 1000
_encode = msgspec.json.Encoder().encode


class SessionHandlers:
    def __init__(self, *, sessions: Sessions, timelines: Timelines, projects: Projects) -> None:
        self._sessions = sessions
        self._projects = projects
        self._timelines = timelines

    def table(self) -> Handlers:
        return {
            SESSION_CREATE: self.create,
            SESSION_LIST: self.list_sessions,
            SESSION_GET: self.get,
            SESSION_EVENTS: self.events,
            SESSION_FIND: self.find,
            SESSION_INPUT: self.send,
            SESSION_RESUME: self.resume,
            SESSION_HANDOVER: self.hand_over,
            SESSION_INTERRUPT: self.interrupt,
            SESSION_STOP: self.stop,
            SESSION_PAUSE: self.pause,
            SESSION_LIMITS: self.set_limits,
            SESSION_UNPAUSE: self.unpause,
            SESSION_RENAME: self.rename,
        }

    async def create(self, call: Call) -> Session:
        if (first := await self._first(call)) is not None:
            return first
        project, by = self._check_start(call, call.body)
        return await self._sessions.create(call.body, by=by, project=project)

    async def _first(self, call: Call) -> Session | None:
        """What this request has started before: whatever has come to bind the caller since, it asks for nothing new."""
        first = await self._sessions.find_first(call.caller.name, call.token) if call.token else None
        if first is not None and call.caller.within is not None and first.project not in call.caller.within:
            raise Conflict("that Idempotency-Key has started a session that this API key does not know: use another")
        return first

    def _check_start(self, call: Call, wanted: SessionCreate) -> tuple[str, Starter]:
        """The project that it starts in, and by whom; whatever binds the caller binds what it resumes too."""
        caller = call.caller
        start = Start(
            sight=caller.sight(Permission.PROJECT_READ),
            local=caller.identity is not NOBODY,
            bounds=caller.bounds,
            credential=caller.credential,
        )
        project = self._projects.check_start(wanted, start)
        return project, Starter(
            identity=caller.identity,
            owner=caller.name,
            token=call.token,
            credential=caller.key,
            key_day_usd=caller.key_day_usd,
            admit=partial(self._projects.check_room, project, start),
        )

    async def list_sessions(self, call: Call) -> SessionList:
        limit = min(call.query.get("limit", _LIST_LIMIT), _LIST_MOST)
        sight = call.caller.sight(call.operation.permission)
        everything = call.query.get("all", False)
        return SessionList(sessions=await self._sessions.list_sessions(sight, everything=everything, limit=limit))

    async def get(self, call: Call) -> SessionDetail:
        key = call.path["key"]
        return SessionDetail(session=await self._sessions.get(key), report=await self._sessions.find_report(key))

    async def events(self, call: Call) -> Stream:
        key = call.path["key"]
        follow = call.query.get("follow", False)
        after, tail = call.query.get("after", 0), call.query.get("tail")
        if tail is not None:
            after = max(after, await self._timelines.last_seq(key) - tail)
        if wanted := _wanted(call):
            if follow or "limit" in call.query:
                raise BadRequest("what is looked for comes whole: text, types and trouble go without follow and limit")
            return Stream(self._timelines.matching(key, wanted, after=after))
        lines = self._lines(key, after=after, follow=follow, limit=call.query.get("limit"))
        if follow and call.query.get("preview", False) and (previews := self._sessions.find_previews(key)) is not None:
            with_previews = _merge(lines, previews.listen)
            return Stream(with_previews)
        return Stream(lines)

    async def find(self, call: Call) -> Found:
        query = call.query
        if not (wanted := _wanted(call)):
            raise BadRequest("nothing to look for: give text, types or trouble=true")
        return await self._timelines.find(
            call.path["key"],
            wanted,
            after=query.get("after", 0),
            before=query.get("before", sys.maxsize),
            limit=min(max(1, query.get("limit", 1)), _FIND_MOST),
            backwards="before" in query and "after" not in query,
        )

    async def _lines(self, key: str, *, after: int, follow: bool, limit: int | None) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._timelines.stream(key, after=after, follow=follow, limit=limit)) as chunks:
            async for chunk, behind in chunks:
                yield chunk
                if follow and behind > BEHIND_BYTES:
                    yield _encode(Notice(notice="behind", behind=behind)) + b"\n"

    async def send(self, call: Call) -> InputAccepted:
        await self._check_bounds(call)
        return await self._sessions.say(call.path["key"], call.body.text, by=call.caller.name, lease=call.body.lease)

    async def resume(self, call: Call) -> Session:
        before = await self._sessions.get(call.path["key"])
        if (first := await self._first(call)) is not None:
            return first
        wanted = SessionCreate(agent=before.agent, data=before.data, project=before.project)
        _, by = self._check_start(call, wanted)
        return await self._sessions.resume(before.key, call.body, by=by)

    async def hand_over(self, call: Call) -> Session:
        return await self._sessions.hand_over(
            call.path["key"],
            call.body.to,
            by=call.caller.name,
            may_take=call.caller.reach(call.operation.permission) is Reach.ANY,
        )

    async def interrupt(self, call: Call) -> Accepted:
        key = call.path["key"]
        return Accepted(key=key, state=await self._sessions.interrupt(key, by=call.caller.name))

    async def stop(self, call: Call) -> Accepted:
        key = call.path["key"]
        grace_s = call.body.grace_s
        if grace_s is not None and not 0 <= grace_s <= 3600:
            raise BadRequest(f"grace_s {grace_s:g}: must be from 0 to 3600")
        return Accepted(key=key, state=await self._sessions.stop(key, by=call.caller.name, grace_s=grace_s))

    async def pause(self, call: Call) -> Accepted:
        key = call.path["key"]
        state = await self._sessions.pause(key, by=call.caller.name, detail=call.body.reason)
        return Accepted(key=key, state=state)

    async def set_limits(self, call: Call) -> Session:
        await self._check_bounds(call)
        return await self._sessions.set_limits(call.path["key"], call.body, by=call.caller.name)

    async def rename(self, call: Call) -> Session:
        return await self._sessions.rename(call.path["key"], call.body.name)

    async def _check_bounds(self, call: Call) -> None:
        """Before what lets a session work on."""
        if call.caller.bounds is not None:
            call.caller.check_bounds(await self._sessions.get(call.path["key"]))

    async def unpause(self, call: Call) -> Accepted:
        await self._check_bounds(call)
        key = call.path["key"]
        return Accepted(key=key, state=await self._sessions.unpause(key, by=call.caller.name))


def _wanted(call: Call) -> Wanted:
    """What is looked for; false when it is nothing. Raises BadRequest for a type that no event has."""
    query = call.query
    types = frozenset(query["types"].split(",")) if query.get("types") else frozenset[str]()
    if strange := types - TYPES.keys():
        raise BadRequest(f"types {', '.join(sorted(strange))!r}: there are no such events")
    return Wanted(text=query.get("text", ""), types=types, trouble=query.get("trouble", False))


async def _merge(lines: AsyncGenerator[bytes, None], listen: Callable[[], Any]) -> AsyncGenerator[bytes, None]:
    """Timeline lines, and between them what the agent is still writing. A line goes before a preview."""
    with listen() as previews:
        line = asyncio.ensure_future(anext(lines, None))
        preview = asyncio.ensure_future(previews.get())
        try:
            while True:
                await asyncio.wait({line, preview}, return_when=asyncio.FIRST_COMPLETED)
                if line.done():
                    if (chunk := line.result()) is None:
                        return
                    yield chunk
                    line = asyncio.ensure_future(anext(lines, None))
                else:
                    yield _encode(Notice(notice="preview", text=preview.result())) + b"\n"
                    preview = asyncio.ensure_future(previews.get())
        finally:
            line.cancel()
            preview.cancel()
            await asyncio.gather(line, preview, return_exceptions=True)
            await lines.aclose()
