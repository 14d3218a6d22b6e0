"""Is an agent's binary the locked one or not there, whoever uploads at the same time?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from eleagent.errors import BadRequest, TooLarge
from eleagent.wire.agents import AgentLock
from eleagent_daemon.agents.files import get_dockerfile, get_lock
from eleagent_daemon.domain.launch import ImageSet
from eleagent_daemon.sessions import catalogue as module
from eleagent_daemon.sessions.catalogue import Catalogue

GOOD = b"\x7fELF good".ljust(64, b"g")
BAD = b"\x7fELF evil".ljust(64, b"e")


class NoImages:
    greeting = None

    async def ask(self, *_: object) -> ImageSet:
        return ImageSet(images=[])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lock = AgentLock(
        agent="claude", version="1.0.0", platform="linux-x64", sha256=sha256(GOOD).hexdigest(), size_bytes=len(GOOD),
        npm="", pypi="",
    )  # fmt: skip
    for read in (get_dockerfile, get_lock):
        read("claude")  # kept from then on
    monkeypatch.setattr(module, "get_lock", lambda _: lock)
    return tmp_path


async def upload(folder: Path, *chunks: bytes, wait: asyncio.Event | None = None) -> None:
    async def give() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if wait is not None:
            await wait.wait()

    with ThreadPoolExecutor(max_workers=2) as pool:
        catalogue = Catalogue(folder=folder, launcher=cast(Any, NoImages()), pool=pool)
        await catalogue.install("claude", give())


def installed(folder: Path) -> dict[str, bytes]:
    """Every file below, by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_install_puts_the_locked_binary_in_place(folder: Path) -> None:
    await upload(folder, GOOD[:10], GOOD[10:])
    assert installed(folder) == {"claude": GOOD}
    (path,) = (path for path in folder.rglob("claude") if path.is_file())
    assert path.stat().st_mode & 0o777 == 0o755


async def test_install_beside_another_upload_installs_what_it_hashed(folder: Path) -> None:
    ready = asyncio.Event()
    good = asyncio.ensure_future(upload(folder, GOOD, wait=ready))
    bad = asyncio.ensure_future(upload(folder, BAD, wait=ready))
    await asyncio.sleep(0.1)
    ready.set()
    await good
    with pytest.raises(BadRequest, match="this is not claude"):
        await bad
    assert installed(folder) == {"claude": GOOD}


@pytest.mark.parametrize(
    ("data", "error"),
    [(BAD, BadRequest), (GOOD + b"x", TooLarge), (GOOD[:-1], BadRequest)],
    ids=["other", "longer", "shorter"],
)
async def test_install_of_anything_else_leaves_what_was_there(folder: Path, data: bytes, error: type) -> None:
    await upload(folder, GOOD)
    with pytest.raises(error):
        await upload(folder, data)
    assert installed(folder) == {"claude": GOOD}


async def test_install_that_is_broken_off_keeps_nothing(folder: Path) -> None:
    uploading = asyncio.ensure_future(upload(folder, GOOD, wait=asyncio.Event()))
    await asyncio.sleep(0.1)
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert installed(folder) == {}


async def test_install_is_durable_before_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[dict[str, bytes]] = []
    monkeypatch.setattr(module.os, "fsync", lambda _: synced.append(installed(folder)))
    await upload(folder, GOOD)
    before, after = synced
    assert (list(before.values()), "claude" in before) == ([GOOD], False)
    assert after == {"claude": GOOD}
