"""Which sandboxes are made ahead, so that a session that fits one starts at once?

To make a sandbox takes longer than all else before its program runs. So when a session without data has ended, one
more sandbox of its shape is made, up to the closed gate: nothing runs in it, and it is attested when it is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from eleagent.errors import EleAgentError
from eleagent_daemon.domain.launch import Create, Done, Made, Remove
from eleagent_daemon.domain.sandbox import SandboxSpec
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.store.registry import Registry, Reservation

log = logging.getLogger(__name__)

KEEP_S: Final = 600.0
"""How long a spare waits for a session that fits it."""

NOBODY: Final = Reservation("", 0)
"""Whose a shape is: a spare's spec before it has a key and a user."""


@dataclass(frozen=True)
class Spare:
    shape: SandboxSpec
    reserved: Reservation
    until: float  # monotonic, seconds


class Spares:
    """At most `count` of them, each of another shape. The launcher removes them when this daemon dies."""

    def __init__(self, *, launcher: LauncherClient, registry: Registry, count: int, keep_s: float = KEEP_S) -> None:
        self._launcher = launcher
        self._registry = registry
        self._count = count
        self._keep_s = keep_s
        self._ready: list[Spare] = []
        self._held: set[str] = set()
        self._wanted: SandboxSpec | None = None
        self._making: SandboxSpec | None = None
        self._wake = asyncio.Event()
        self._made = asyncio.Event()

    @property
    def keys(self) -> set[str]:
        """Keys under which a sandbox is there, or may be, that is no session's yet."""
        return set(self._held)

    @asynccontextmanager
    async def lend(self, shape: SandboxSpec | None) -> AsyncIterator[Reservation | None]:
        """The spare of this shape, also one that is being made; it comes back unless it is spent meanwhile."""
        if shape is not None and self._making == shape:
            await self._made.wait()
        spare = next((one for one in self._ready if one.shape == shape), None)
        if spare is None:
            yield None
            return
        self._ready.remove(spare)
        try:
            yield spare.reserved
        finally:
            if spare.reserved.key in self._held:
                self._ready.append(spare)

    def spend(self, reserved: Reservation) -> None:
        """It is a session's from now on."""
        self._held.discard(reserved.key)
        self._registry.let_go(reserved)

    def want(self, shape: SandboxSpec) -> None:
        """A session of this shape has ended: another may follow."""
        if self._count:
            self._wanted = shape
            self._wake.set()

    async def run(self) -> None:
        """Make what is wanted and remove what nobody took, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_s if self._ready else None):
                    await self._wake.wait()
            self._wake.clear()
            now = time.monotonic()
            for spare in [one for one in self._ready if one.until <= now]:
                self._ready.remove(spare)
                await self._remove(spare.reserved)
            shape, self._wanted = self._wanted, None
            if shape is not None and not any(one.shape == shape for one in self._ready):
                await self._make(shape)

    async def close(self) -> None:
        """Leave none behind."""
        while self._ready:
            await self._remove(self._ready.pop().reserved)

    async def _make(self, shape: SandboxSpec) -> None:
        self._making = shape
        self._made.clear()
        try:
            while len(self._ready) >= self._count:
                await self._remove(self._ready.pop(0).reserved)
            reserved = await self._registry.reserve()
            self._held.add(reserved.key)
            spec = msgspec.structs.replace(shape, session=reserved.key, uid=reserved.uid)
            try:
                await self._launcher.ask(Create(spec=spec), Made)
            except EleAgentError:
                await self._remove(reserved)
                raise
            self._ready.append(Spare(shape, reserved, time.monotonic() + self._keep_s))
        except EleAgentError as err:
            log.warning("no sandbox was made ahead: %s", err.message)
        finally:
            self._making = None
            self._made.set()

    async def _remove(self, reserved: Reservation) -> None:
        """What can't be removed now is an orphan, which is looked for again and again."""
        try:
            await self._launcher.ask(Remove(session=reserved.key, forget=True), Done)
        except EleAgentError as err:
            log.warning("the spare %s was not removed: %s", reserved.key, err.message)
        self.spend(reserved)
