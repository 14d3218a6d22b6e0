"""What does this release bring for an agent: its lock, its Dockerfile, and so its image's name and labels?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import NotFound
from eleagent.version import __version__
from eleagent.wire.agents import AgentLock

VERSION_LABEL: Final = "io.eleagent.version"
DIGEST_LABEL: Final = "io.eleagent.digest"
_PACKAGE: Final = files("eleagent_daemon.agents")


@dataclass(frozen=True)
class ImageName:
    """What the image of an agent is called and labelled with; `lock` is of its binary, where it has one."""

    agent: str
    lock: AgentLock | None

    @property
    def reference(self) -> str:
        return f"eleagent/{self.agent}:{self.lock.version if self.lock else __version__}"

    @property
    def sha256(self) -> str:
        """Of its binary, empty where it has none."""
        return self.lock.sha256 if self.lock else ""

    @property
    def labels(self) -> dict[str, str]:
        if self.lock is None:
            return {VERSION_LABEL: __version__}
        return {VERSION_LABEL: self.lock.version, DIGEST_LABEL: self.lock.sha256}


def get_image_name(agent: str) -> ImageName:
    """Raises NotFound for an agent that this release brings no image for."""
    get_dockerfile(agent)
    try:
        return ImageName(agent, get_lock(agent))
    except NotFound:
        return ImageName(agent, None)


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
    known = list_images()
    if agent not in known:  # which also keeps a name from leading elsewhere
        raise NotFound(
            f"there is no image for agent {agent!r} in this release; there is one for: {', '.join(known)}", agent=agent
        )
    return (_images() / agent / "Dockerfile").read_text(encoding="utf-8")


def list_images() -> list[str]:
    """The agents that this release brings an image for."""
    return sorted(folder.name for folder in _images().iterdir() if folder.is_dir())


def _images() -> Traversable:
    """`images/` as the wheel holds it, or in a checkout compose/agents, from which the wheel is made."""
    packaged = _PACKAGE / "images"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "compose" / "agents"
