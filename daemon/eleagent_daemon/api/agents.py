"""What does each operation on agents and their images do?"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from eleagent.operations.agents import AGENT_INSTALL, AGENT_LIST, AGENT_LOCK, IMAGE_BUILD, IMAGE_LIST
from eleagent.wire.agents import Agent, AgentList, AgentLock, ImageList
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.sessions.catalogue import Catalogue

_encode = msgspec.json.Encoder().encode


class AgentHandlers:
    def __init__(self, *, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def table(self) -> Handlers:
        return {
            AGENT_LIST: self.list_agents,
            AGENT_LOCK: self.lock,
            AGENT_INSTALL: self.install,
            IMAGE_LIST: self.list_images,
            IMAGE_BUILD: self.build_image,
        }

    async def list_agents(self, call: Call) -> AgentList:
        return AgentList(agents=await self._catalogue.list_agents())

    async def lock(self, call: Call) -> AgentLock:
        return self._catalogue.get_lock(call.path["name"])

    async def install(self, call: Call) -> Agent:
        return await self._catalogue.install(call.path["name"], call.request.content.iter_chunked(1 << 20))

    async def list_images(self, call: Call) -> ImageList:
        return ImageList(images=await self._catalogue.list_images())

    async def build_image(self, call: Call) -> Stream:
        steps = self._catalogue.build(call.body.agent)
        first = await anext(steps)  # what is wrong with the request is said before the stream begins

        async def lines() -> AsyncGenerator[bytes, None]:
            yield _encode(first) + b"\n"
            async for step in steps:
                yield _encode(step) + b"\n"

        return Stream(lines())
