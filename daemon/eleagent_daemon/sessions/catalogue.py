"""Which agents are there, and what does each still need before it can run?"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from eleagent.errors import (
    BadRequest,
    Conflict,
    EleAgentError,
    EngineUnavailable,
    ImageMissing,
    LauncherUnavailable,
    TooLarge,
    UnknownAgent,
)
from eleagent.wire.agents import Agent, AgentLock, BuildStep, Image
from eleagent_daemon.agents.files import DIGEST_LABEL, VERSION_LABEL, get_image_name, get_lock
from eleagent_daemon.domain.launch import Build, ImageFacts, Images, ImageSet
from eleagent_daemon.domain.sandbox import BUBBLEWRAP
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.store.durable import discard, open_beside, put


@dataclass(frozen=True)
class Profile:
    """`binary`: the agent needs an executable from its vendor's package, checked against the lock."""

    name: str
    adapter: str
    binary: bool


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile(name="claude", adapter="claude", binary=True),
        Profile(name="command", adapter="command", binary=False),
    )
}


def get_profile(name: str) -> Profile:
    """Raises UnknownAgent."""
    if name not in PROFILES:
        raise UnknownAgent(f"no agent {name!r}; there are: {', '.join(PROFILES)}", agent=name)
    return PROFILES[name]


class Catalogue:
    """`folder` holds the installed binaries: <agent>/<version>/<agent>."""

    def __init__(self, *, folder: Path, launcher: LauncherClient, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._launcher = launcher
        self._pool = pool

    def get_lock(self, name: str) -> AgentLock:
        """Raises UnknownAgent, and BadRequest for an agent without a binary."""
        profile = get_profile(name)
        if not profile.binary:
            raise BadRequest(f"agent {name!r} has no binary of its own: there is nothing to install")
        return get_lock(name)

    async def list_agents(self) -> list[Agent]:
        """Without an engine too: then `needs` says so."""
        return [await self._describe(profile) for profile in PROFILES.values()]

    async def _describe(self, profile: Profile) -> Agent:
        installed = not profile.binary or await asyncio.get_running_loop().run_in_executor(
            self._pool, self._binary(profile).exists
        )
        steps = [] if installed else [f"eleagent agent install {profile.name}"]
        image = None
        try:
            if (image := await self._find_image(profile)) is None and (installed or not self._is_bare):
                steps.append(f"eleagent image build {profile.name}")
        except (EngineUnavailable, LauncherUnavailable):
            steps.append("a container engine (what is wrong with it: eleagent doctor)")
        needs = None if image else ", then: ".join(steps)
        lock = get_lock(profile.name) if profile.binary else None
        return Agent(
            name=profile.name,
            adapter=profile.adapter,
            image=self.reference(profile),
            version=lock.version if lock else None,
            digest=lock.sha256 if lock else None,
            installed=installed,
            image_id=image.image_id if image else None,
            needs=needs,
        )

    async def get_image(self, name: str) -> ImageFacts:
        """The image that sessions of this agent start from. Raises ImageMissing with the command that builds it."""
        profile = get_profile(name)
        image = await self._find_image(profile)
        if image is None:
            step = f"eleagent {'agent install' if self._is_bare else 'image build'} {name}"
            raise ImageMissing(f"image {self.reference(profile)} is missing: make it with: {step}", agent=name)
        return image

    async def list_images(self) -> list[Image]:
        found = await self._launcher.ask(Images(), ImageSet)
        return [_wire(image) for image in found.images]

    async def install(self, name: str, chunks: AsyncIterator[bytes]) -> Agent:
        """Store an agent's binary while hashing it. Raises BadRequest, and keeps nothing, for another digest than the
        lock's.
        """
        lock, profile = self.get_lock(name), get_profile(name)
        target = self._binary(profile)
        loop = asyncio.get_running_loop()
        digest, size = hashlib.sha256(), 0
        file = await loop.run_in_executor(self._pool, _open_beside, target)
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > lock.size_bytes:
                    raise TooLarge(f"the binary is larger than the {lock.size_bytes} bytes of {name} {lock.version}")
                await loop.run_in_executor(self._pool, _store, file, digest, chunk)
            if digest.hexdigest() != lock.sha256:
                raise BadRequest(
                    f"this is not {name} {lock.version}: its SHA-256 is {digest.hexdigest()}, "
                    f"the lock file says {lock.sha256}"
                )
            await loop.run_in_executor(self._pool, put, file, target)
        finally:
            await loop.run_in_executor(self._pool, discard, file)
        if self._is_bare:
            await self._build(profile)
        return await self._describe(profile)

    async def build(self, name: str) -> AsyncIterator[BuildStep]:
        """Build the agent's image; the last step has the image or the error."""
        profile = get_profile(name)
        if profile.binary and not self._binary(profile).exists():
            raise Conflict(f"{name} {get_lock(name).version} is not installed yet: eleagent agent install {name}")
        with self._launcher.notices(self.reference(profile)) as notices:
            building = asyncio.ensure_future(self._build(profile))
            try:
                while not building.done():
                    line = asyncio.ensure_future(notices.next())
                    await asyncio.wait({line, building}, return_when=asyncio.FIRST_COMPLETED)
                    if line.done():
                        yield BuildStep(text=line.result().text)
                    else:
                        line.cancel()
                yield BuildStep(image=_wire(building.result().images[0]))
            except EleAgentError as err:
                yield BuildStep(error=err.message)
            finally:
                building.cancel()

    async def _build(self, profile: Profile) -> ImageSet:
        fds = [os.open(self._binary(profile), os.O_RDONLY | os.O_CLOEXEC)] if profile.binary else []
        try:
            return await self._launcher.ask(Build(agent=profile.name), ImageSet, fds)
        finally:
            for fd in fds:
                os.close(fd)

    @property
    def _is_bare(self) -> bool:
        """No engine: an image is the host's own /usr and, once installed, the agent's binary."""
        greeting = self._launcher.greeting
        return greeting is not None and greeting.runtime == BUBBLEWRAP

    def reference(self, profile: Profile) -> str:
        return get_image_name(profile.name).reference

    async def _find_image(self, profile: Profile) -> ImageFacts | None:
        found = await self._launcher.ask(Images(reference=self.reference(profile)), ImageSet)
        digest = get_lock(profile.name).sha256 if profile.binary else None
        fitting = (image for image in found.images if digest is None or image.labels.get(DIGEST_LABEL) == digest)
        return next(fitting, None)

    def _binary(self, profile: Profile) -> Path:
        return self._folder / profile.name / get_lock(profile.name).version / profile.name


def version_of(image: ImageFacts) -> tuple[str | None, str | None]:
    """The agent's version and binary digest that an image was built with."""
    return image.labels.get(VERSION_LABEL), image.labels.get(DIGEST_LABEL)


def _wire(image: ImageFacts) -> Image:
    return Image(
        reference=image.reference,
        id=image.image_id,
        size_bytes=image.size_bytes,
        created=image.created,
        labels=image.labels,
    )


def _open_beside(target: Path) -> BinaryIO:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open_beside(target, mode=0o755)


def _store(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)
