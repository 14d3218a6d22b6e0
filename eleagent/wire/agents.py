"""Which agents and images are there?"""

from __future__ import annotations

import msgspec


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A named profile. `needs` is one line that says what to do before it can run, or None when it is ready."""

    name: str
    adapter: str
    image: str
    version: str | None = None
    digest: str | None = None
    installed: bool = True
    image_id: str | None = None
    needs: str | None = None


class AgentList(msgspec.Struct, frozen=True):
    agents: list[Agent]


class AgentLock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The release's word on an agent's binary: `sha256` (hex) of the executable for `platform`."""

    agent: str
    version: str
    platform: str
    sha256: str
    size_bytes: int
    npm: str
    pypi: str


class Image(msgspec.Struct, frozen=True):
    """`id` is the content digest that sessions are started from; `labels` say what was baked in."""

    reference: str
    id: str
    size_bytes: int
    created: str
    labels: dict[str, str] = {}


class ImageList(msgspec.Struct, frozen=True):
    images: list[Image]


class ImageBuild(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: str


class BuildStep(msgspec.Struct, frozen=True):
    """One line of a build's NDJSON stream; the last has `image` or `error`."""

    text: str = ""
    image: Image | None = None
    error: str | None = None
