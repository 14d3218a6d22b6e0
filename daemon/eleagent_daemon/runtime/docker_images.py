"""Which images does the engine have, and how does it build one from a Dockerfile and open files?"""

from __future__ import annotations

import os
import tarfile
from collections.abc import AsyncIterator, Mapping

import msgspec

from eleagent.errors import EleAgentError, NotFound
from eleagent_daemon.domain.launch import ImageFacts
from eleagent_daemon.domain.sandbox import LABEL
from eleagent_daemon.runtime.docker_answers import Image
from eleagent_daemon.runtime.docker_engine import Engine

AGENT_LABEL = f"{LABEL}.agent"
_PIECE_BYTES = 1 << 20
_BUILDERS_OWN = (" ---> ", "Removing intermediate container")


async def find_images(engine: Engine, reference: str) -> list[ImageFacts]:
    """The image that `reference` (a name or a digest) means, or every one with the agents' label when it is empty."""
    if reference:
        names = [reference]
    else:
        async with engine.asked("list images") as docker:
            names = sorted({row["Id"] for row in await docker.images.list(filters={"label": [AGENT_LABEL]})})
    found = []
    for name in names:
        try:
            async with engine.asked(f"inspect image {name}") as docker:
                image = msgspec.convert(await docker.images.inspect(name), Image)
        except NotFound:
            continue
        labels = (image.config.labels if image.config else None) or {}
        tag = reference or next(iter(image.repo_tags or []), name)
        found.append(ImageFacts(tag, image.id, image.size, image.created, labels))
    return found


class _Progress(msgspec.Struct, frozen=True):
    stream: str = ""
    status: str = ""
    error: str = ""


async def build_image(
    engine: Engine, reference: str, dockerfile: str, files: Mapping[str, int], labels: Mapping[str, str]
) -> AsyncIterator[str]:
    """The engine's builder on its default network: RUN steps such as apt-get need one."""
    params = {
        "t": reference,
        "labels": msgspec.json.encode(labels).decode(),
        "dockerfile": "Dockerfile",
        "rm": "1",
        "forcerm": "1",
    }
    step = last = ""
    context = _context(dockerfile, files)
    async with engine.streamed(f"build image {reference}", "POST", "/build", params=params, data=context) as answer:
        rest = b""
        async for piece in answer.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(bytes.strip, lines):
                progress = msgspec.json.decode(line, type=_Progress)
                if progress.error:
                    said = f"; it said last: {last}" if last and last != step else ""
                    at = step or "its first line"
                    raise EleAgentError(f"image {reference} was not built: {progress.error} (at {at}{said})", step=step)
                for text in (progress.stream or progress.status).splitlines():
                    if text.strip():
                        step = text.strip() if text.startswith("Step ") else step
                        last = last if text.startswith(_BUILDERS_OWN) else text.strip()
                        yield text.rstrip()


async def _context(dockerfile: str, files: Mapping[str, int]) -> AsyncIterator[bytes]:
    """A tar stream (POSIX.1-1988 with GNU sizes) of the Dockerfile and the files, never more than a piece in memory.

    Times are zero, so that the same files give the same cached layers.
    """
    text = dockerfile.encode()
    yield _header("Dockerfile", len(text), 0o644) + text + _padding(len(text))
    for name, descriptor in files.items():
        size = os.fstat(descriptor).st_size
        yield _header(name, size, 0o755)
        position = 0
        while position < size:
            # pread leaves the caller's offset alone; a thread, since a cold disk would stop every other session.
            # No thread: the process that uses this forks, and a fork takes no thread along.
            piece = os.pread(descriptor, min(_PIECE_BYTES, size - position), position)
            if not piece:
                raise OSError(f"{name} became shorter while it was read")
            position += len(piece)
            yield piece
        yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int, mode: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
