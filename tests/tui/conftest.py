"""How do tests open the TUI: headless over the scripted daemon, keys in, screens out?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot

from eleagent.client.address import UnixSocket
from eleagent.client.aio import AsyncClient
from eleagent.client.witness import Witness
from eleagent_tui.app import EleAgent
from eleagent_tui.keep import Kept

from ..cli.fakedaemon import FakeDaemon
from .scripted import Scene

SMALL, LARGE = (80, 24), (160, 48)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "api.sock") as fake:
        yield fake


@pytest.fixture
def scene(daemon: FakeDaemon) -> Scene:
    return Scene(daemon)


@dataclass
class Tui:
    """`screen` is what a person sees, row by row."""

    app: EleAgent
    pilot: Pilot[None]

    @property
    def rows(self) -> list[str]:
        from rich.segment import Segment

        lines = Segment.split_lines(
            segment for strip in self.app.screen._compositor.render_strips() for segment in [*strip, Segment.line()]
        )
        return ["".join(segment.text for segment in line).rstrip() for line in lines]

    @property
    def screen(self) -> str:
        return "\n".join(self.rows)

    async def press(self, *keys: str) -> None:
        """Textual's names of keys, as the terminal's driver would send them."""
        for key in keys:
            char = {"space": " "}.get(key, key if len(key) == 1 else None)
            named = key if len(key) > 1 else _character_to_key(key)
            self.app.post_message(Key(named, char))
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*text)

    async def until(self, seen: str | Callable[[], Any], timeout_s: float = 8) -> None:
        """Wait for a text on the screen, or for what is true."""
        deadline = time.monotonic() + timeout_s
        while not (seen in self.screen if isinstance(seen, str) else seen()):
            assert time.monotonic() < deadline, f"{seen!r} is not there:\n{self.screen}"
            await self.pilot.pause(0.02)


Open = Callable[..., contextlib.AbstractAsyncContextManager[Tui]]


@pytest.fixture
def tui(daemon: FakeDaemon, tmp_path: Path) -> Open:
    """Opens it: `async with tui(size=LARGE) as seen`."""

    @asynccontextmanager
    async def opened(
        *, size: tuple[int, int] = SMALL, kept: Kept | None = None, remote: bool = False
    ) -> AsyncIterator[Tui]:
        app = EleAgent(
            connect=lambda ask: AsyncClient(at=UnixSocket(str(daemon.path)), ask_password=ask),
            where="local",
            host=f"unix://{daemon.path}",
            kept=kept or Kept(),
            kept_file=tmp_path / "state" / "kept.json",
            remote=remote,
            poll_s=0.1,
            witness=Witness(str(daemon.path), str(tmp_path / "witness")),
        )
        async with app.run_test(size=size) as pilot:
            yield Tui(app, pilot)

    return opened
