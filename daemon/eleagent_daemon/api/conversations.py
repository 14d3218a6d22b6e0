"""What is done with what sessions left: exported, deleted?"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Final

from eleagent.errors import BadRequest
from eleagent.operations.sessions import SESSION_EXPORT, SESSION_REMOVE
from eleagent.wire.sessions import Accepted
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.artefacts import read_file
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.transcript import heading, sections
from eleagent_daemon.store.conversations import Conversations
from eleagent_daemon.store.timeline import Timelines

ENDINGS: Final = {"jsonl": "jsonl", "markdown": "md"}


class ConversationHandlers:
    def __init__(
        self, *, sessions: Sessions, timelines: Timelines, conversations: Conversations, retention: Retention
    ) -> None:
        self._sessions = sessions
        self._timelines = timelines
        self._conversations = conversations
        self._retention = retention

    def table(self) -> Handlers:
        return {SESSION_EXPORT: self.export, SESSION_REMOVE: self.remove}

    async def remove(self, call: Call) -> Accepted:
        key = call.path["key"]
        state = (await self._sessions.get(key)).state
        await self._retention.remove(key)
        return Accepted(key=key, state=state)

    async def export(self, call: Call) -> Stream:
        key, form = call.path["key"], call.query.get("format", "jsonl")
        if form not in ENDINGS:
            raise BadRequest(f"format {form!r} is neither {' nor '.join(ENDINGS)}")
        pieces = self._lines(key) if form == "jsonl" else self._markdown(key)
        fd, size = await self._conversations.write(f"{key}.{ENDINGS[form]}", pieces)
        return Stream(read_file(fd), length=size, release=partial(os.close, fd))

    async def _lines(self, key: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._timelines.stream(key, after=0, follow=False)) as chunks:
            async for chunk, _ in chunks:
                yield chunk

    async def _markdown(self, key: str) -> AsyncGenerator[bytes, None]:
        yield heading(await self._sessions.get(key)).encode()
        async with aclosing(self._timelines.events(key)) as blocks:
            async for block in blocks:
                yield "".join(sections(block)).encode()
