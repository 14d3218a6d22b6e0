"""What does each operation on artefacts do?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from functools import partial

from eleagent.errors import BadRequest
from eleagent.operations.artefacts import ARTEFACT_GET, ARTEFACT_LIST
from eleagent.wire.sessions import ArtefactList
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.store.artefacts import Artefacts


class ArtefactHandlers:
    def __init__(self, *, sessions: Sessions, artefacts: Artefacts) -> None:
        self._sessions = sessions
        self._artefacts = artefacts

    def table(self) -> Handlers:
        return {ARTEFACT_LIST: self.list_artefacts, ARTEFACT_GET: self.get}

    async def list_artefacts(self, call: Call) -> ArtefactList:
        key = call.path["key"]
        session = await self._sessions.get(key)
        return ArtefactList(artefacts=await self._artefacts.list_artefacts(key), complete=session.state.ended)

    async def get(self, call: Call) -> Stream:
        key = call.path["key"]
        if not call.query.get("path"):
            raise BadRequest("query parameter path is missing: it names the artefact")
        fd, artefact = await self._artefacts.open_artefact(key, call.query["path"])
        return Stream(read_file(fd), length=artefact.size_bytes, release=partial(os.close, fd))


async def read_file(fd: int) -> AsyncGenerator[bytes, None]:
    """From its beginning to its end."""
    loop = asyncio.get_running_loop()
    offset = 0
    while chunk := await loop.run_in_executor(None, os.pread, fd, 1 << 18, offset):
        yield chunk
        offset += len(chunk)
