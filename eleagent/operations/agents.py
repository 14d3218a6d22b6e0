"""Which operations are there on agents and their images?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Answer, Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import agents

AGENT_LIST: Final = Operation(
    id="agent_list", method="GET", path="/v1/agents", permission=Permission.AGENT_READ, audit="agent.list",
    effect=Effect.READ, summary="Agents and what each still needs", result=agents.AgentList,
)  # fmt: skip
AGENT_LOCK: Final = Operation(
    id="agent_lock", method="GET", path="/v1/agents/{name}/lock", permission=Permission.AGENT_READ, audit="agent.lock",
    effect=Effect.READ, summary="The version and digest that this release accepts for an agent's binary",
    result=agents.AgentLock,
)  # fmt: skip
AGENT_INSTALL: Final = Operation(
    id="agent_install", method="PUT", path="/v1/agents/{name}/binary", permission=Permission.AGENT_INSTALL,
    audit="agent.install", effect=Effect.ACT, summary="Upload an agent's binary; only the lock's digest is taken",
    body_kind=Body.BYTES, limit_bytes=1 << 30, result=agents.Agent,
)  # fmt: skip
IMAGE_LIST: Final = Operation(
    id="image_list", method="GET", path="/v1/images", permission=Permission.IMAGE_READ, audit="image.list",
    effect=Effect.READ, summary="EleAgent's images on the engine", result=agents.ImageList,
)  # fmt: skip
IMAGE_BUILD: Final = Operation(
    id="image_build", method="POST", path="/v1/images", permission=Permission.IMAGE_BUILD, audit="image.build",
    effect=Effect.ACT, summary="Build an agent's image", body=agents.ImageBuild, body_kind=Body.JSON,
    result=agents.BuildStep, answer=Answer.NDJSON,
)  # fmt: skip
