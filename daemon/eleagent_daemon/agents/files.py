"""Where are the files that this release brings for an agent: its lock and its Dockerfile?"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from eleagent.errors import NotFound
from eleagent.wire.agents import AgentLock

_PACKAGE = files("eleagent_daemon.agents")


@cache
def get_lock(agent: str) -> AgentLock:
    """The version and digest that this release accepts. Raises NotFound for an agent that has no binary of its own."""
    lock = _PACKAGE / f"{agent}.lock.json"
    if not lock.is_file():
        raise NotFound(f"agent {agent!r} has no lock file: it needs no binary to be installed", agent=agent)
    return msgspec.json.decode(lock.read_bytes(), type=AgentLock)


@cache
def get_dockerfile(agent: str) -> str:
    """The text of its Dockerfile. Raises NotFound for an agent that this release brings no image for."""
    dockerfile = _images() / agent / "Dockerfile"
    if not dockerfile.is_file():
        known = ", ".join(sorted(folder.name for folder in _images().iterdir() if folder.is_dir()))
        raise NotFound(f"there is no image for agent {agent!r} in this release; there is one for: {known}", agent=agent)
    return dockerfile.read_text(encoding="utf-8")


def _images() -> Traversable:
    """`images/` as the wheel holds it, or in a checkout compose/agents, from which the wheel is made."""
    packaged = _PACKAGE / "images"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "compose" / "agents"
