"""What does each operation do? One method an operation, named like it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from eleagent.errors import BadRequest
from eleagent.wire.agents import Agent, AgentList, AgentLock, ImageList
from eleagent.wire.events import Notice
from eleagent.wire.sessions import (
    Accepted,
    ArtefactList,
    InputAccepted,
    Session,
    SessionDetail,
    SessionList,
)
from eleagent.wire.system import AuditList, Doctor, Status
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.openapi import document
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.api.system import System
from eleagent_daemon.sessions.catalogue import Catalogue
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.timeline import Timelines

BEHIND_BYTES = 4 << 20
"""A watcher that is further behind than this is told so."""

_LIST_LIMIT = 1000
_encode = msgspec.json.Encoder().encode


class Handlers:
    def __init__(
        self,
        *,
        sessions: Sessions,
        catalogue: Catalogue,
        timelines: Timelines,
        artefacts: Artefacts,
        ledger: Ledger,
        system: System,
    ) -> None:
        self._sessions = sessions
        self._catalogue = catalogue
        self._timelines = timelines
        self._artefacts = artefacts
        self._ledger = ledger
        self._system = system

    async def status(self, call: Call) -> Status:
        return await self._system.status(call.caller)

    async def doctor(self, call: Call) -> Doctor:
        return await self._system.doctor()

    async def openapi(self, call: Call) -> dict[str, Any]:
        return document()

    async def audit_list(self, call: Call) -> AuditList:
        session = call.query.get("session", "")
        if session:
            session = await self._sessions.resolve(session, owner=call.caller.name)
        limit = min(call.query.get("limit", _LIST_LIMIT), _LIST_LIMIT)
        return await self._ledger.list_records(
            after=call.query.get("after", 0),
            limit=max(1, limit),
            session=session,
            newest=call.query.get("newest", False),
        )

    async def session_create(self, call: Call) -> Session:
        return await self._sessions.create(
            call.body, caller=call.caller.identity, owner=call.caller.name, token=call.token
        )

    async def session_list(self, call: Call) -> SessionList:
        limit = min(call.query.get("limit", _LIST_LIMIT), 10 * _LIST_LIMIT)
        return SessionList(
            sessions=await self._sessions.list_sessions(everything=call.query.get("all", False), limit=limit)
        )

    async def session_get(self, call: Call) -> SessionDetail:
        key = call.path["key"]
        return SessionDetail(session=await self._sessions.get(key), report=await self._sessions.find_report(key))

    async def session_events(self, call: Call) -> Stream:
        key = call.path["key"]
        follow = call.query.get("follow", False)
        lines = self._lines(key, after=call.query.get("after", 0), follow=follow)
        if follow and call.query.get("preview", False) and (previews := self._sessions.find_previews(key)) is not None:
            with_previews = _merge(lines, previews.listen)
            return Stream(with_previews)
        return Stream(lines)

    async def _lines(self, key: str, *, after: int, follow: bool) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._timelines.stream(key, after=after, follow=follow)) as chunks:
            async for chunk, behind in chunks:
                yield chunk
                if follow and behind > BEHIND_BYTES:
                    yield _encode(Notice(notice="behind", behind=behind)) + b"\n"

    async def session_input(self, call: Call) -> InputAccepted:
        key = call.path["key"]
        if not call.body.text.strip():
            raise BadRequest("the input is empty")
        message, seq = await self._sessions.say(key, call.body.text, by=call.caller.name)
        return InputAccepted(id=message, seq=seq)

    async def session_interrupt(self, call: Call) -> Accepted:
        key = call.path["key"]
        return Accepted(key=key, state=await self._sessions.interrupt(key))

    async def session_stop(self, call: Call) -> Accepted:
        key = call.path["key"]
        grace_s = call.body.grace_s
        if grace_s is not None and not 0 <= grace_s <= 3600:
            raise BadRequest(f"grace_s {grace_s:g}: must be from 0 to 3600")
        return Accepted(key=key, state=await self._sessions.stop(key, by=call.caller.name, grace_s=grace_s))

    async def approval_answer(self, call: Call) -> Accepted:
        key = call.path["key"]
        state = await self._sessions.answer(
            key, call.path["id"], allow=call.body.allow, by=call.caller.name, comment=call.body.comment
        )
        return Accepted(key=key, state=state)

    async def artefact_list(self, call: Call) -> ArtefactList:
        key = call.path["key"]
        session = await self._sessions.get(key)
        return ArtefactList(artefacts=await self._artefacts.list_artefacts(key), complete=session.state.ended)

    async def artefact_get(self, call: Call) -> Stream:
        key = call.path["key"]
        if not call.query.get("path"):
            raise BadRequest("query parameter path is missing: it names the artefact")
        fd, artefact = await self._artefacts.open_artefact(key, call.query["path"])
        return Stream(_read(fd), length=artefact.size_bytes, release=partial(os.close, fd))

    async def agent_list(self, call: Call) -> AgentList:
        return AgentList(agents=await self._catalogue.list_agents())

    async def agent_lock(self, call: Call) -> AgentLock:
        return self._catalogue.get_lock(call.path["name"])

    async def agent_install(self, call: Call) -> Agent:
        return await self._catalogue.install(call.path["name"], call.request.content.iter_chunked(1 << 20))

    async def image_list(self, call: Call) -> ImageList:
        return ImageList(images=await self._catalogue.list_images())

    async def image_build(self, call: Call) -> Stream:
        steps = self._catalogue.build(call.body.agent)
        first = await anext(steps)  # what is wrong with the request is said before the stream begins

        async def lines() -> AsyncGenerator[bytes, None]:
            yield _encode(first) + b"\n"
            async for step in steps:
                yield _encode(step) + b"\n"

        return Stream(lines())


async def _read(fd: int) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    offset = 0
    while chunk := await loop.run_in_executor(None, os.pread, fd, 1 << 18, offset):
        yield chunk
        offset += len(chunk)


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
