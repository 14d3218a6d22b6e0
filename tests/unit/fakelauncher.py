"""How do sessions meet the fake runtime? A launcher's verbs over plain processes: no spool, doors or isolation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eleagent.errors import Conflict, EleAgentError, LauncherUnavailable, NotFound, Unavailable
from eleagent.wire.attestation import Binding, Report
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.sandbox import GATE_WORD, Phase, Placement, SandboxSpec
from eleagent_daemon.runtime.fake import FakeEngine, FakeRuntime
from eleagent_daemon.runtime.seam import InputChannel, Sandbox
from eleagent_daemon.sessions.launchclient import Subscription

COLLECT_S = 0.03
"""So long that something else happens meanwhile."""


class FakeLauncher:
    """`sessions.launchclient.LauncherClient`, as sessions see it. Like a launcher it outlives the daemon. It dies over
    as many of the next verbs as `deaf` says, over every other one after it was carried out. As many removals as
    `mounted` says leave a mount behind.
    """

    def __init__(self, *, engine: FakeEngine, installation: str) -> None:
        self.runtime = FakeRuntime(engine=engine, installation=installation)
        self.greeting = launch.Greeting(
            protocol=launch.PROTOCOL, version="", pid=1, privileged=False, runtime="fake", engine="", boot_id="one"
        )
        self.specs: dict[str, SandboxSpec] = {}
        self.inputs: dict[str, InputChannel] = {}
        self.released: set[str] = set()
        self.deaf = 0
        self.mounted = 0
        self.locks: dict[str, asyncio.Lock] = {}

    async def ready(self, timeout_s: float) -> launch.Greeting:
        return self.greeting

    def consumed(self, session: str, offset: int) -> None:
        return

    @contextmanager
    def notices(self, session: str) -> Iterator[Subscription]:
        yield Subscription()

    async def call(self, verb: Any, fds: Sequence[int] = ()) -> tuple[Any, list[int]]:
        return await self.ask(verb, object, fds), []

    async def ask(self, verb: Any, expected: type, fds: Sequence[int] = ()) -> Any:
        if self.deaf:
            self.deaf -= 1
            if self.deaf % 2:
                await self._carried_out(verb)
            raise LauncherUnavailable("it was killed by a test")
        return await self._carried_out(verb)

    async def _carried_out(self, verb: Any) -> Any:
        """A verb goes on though the daemon that asked is gone, and is done before the session's next one."""
        work = asyncio.ensure_future(self._in_turn(verb))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to hear of it
        return await asyncio.shield(work)

    async def _in_turn(self, verb: Any) -> Any:
        session = verb.spec.session if isinstance(verb, launch.Create) else getattr(verb, "session", "")
        async with self.locks.setdefault(session, asyncio.Lock()):
            return await self._do(verb)

    async def _do(self, verb: Any) -> Any:
        match verb:
            case launch.Create(spec=spec):
                return await self._create(spec)
            case launch.Remove(session=session):
                return await self._remove(session)
            case launch.ListAll():
                entries, complete = await self.runtime.list({})
                return launch.Listing(entries, complete)
            case launch.Collect():
                await asyncio.sleep(COLLECT_S)
                return launch.Collected(count=0, bytes=0, skipped=[])
        sandbox = self._sandbox(verb.session)
        match verb:
            case launch.Attest(session=session):
                binding = Binding(sandbox.id, self.specs[session].name, 1, 1, 1)
                return launch.Attested(Report(runtime="fake", controls=[], binding=binding, complete=True))
            case launch.OpenDoors():
                return launch.DoorSet([])
            case launch.Release(session=session):
                if sandbox.name not in self.released:
                    self.released.add(sandbox.name)
                    await self.inputs[session].write(GATE_WORD)
            case launch.Inspect():
                status = await self.runtime.inspect(sandbox.name)
                return launch.Inspected(status=status, spooled=0, written=[])
            case launch.Pause():
                await self.runtime.pause(sandbox)
            case launch.Unpause():
                await self.runtime.unpause(sandbox)
            case launch.Stop():
                await self.runtime.kill(sandbox)
            case _:
                raise AssertionError(verb)
        return launch.Done()

    async def _create(self, spec: SandboxSpec) -> launch.Made:
        if (before := self.specs.get(spec.session)) is not None and before != spec:
            raise Conflict(f"{before.name} is still there")
        sandbox = await self.runtime.create(spec, Placement({}, {}))
        if before is None:
            _, self.inputs[spec.session] = await self.runtime.attach(sandbox)
            await self.runtime.start(sandbox)
            self.specs[spec.session] = spec
        return launch.Made(sandbox.id, "")

    async def _remove(self, session: str) -> launch.Done:
        if (spec := self.specs.get(session)) is not None:
            await self.runtime.remove(spec.name)
            del self.specs[session], self.inputs[session]
        if self.mounted:
            self.mounted -= 1
            raise Unavailable(f"{session}/disk can't be unmounted")
        return launch.Done()

    def _sandbox(self, session: str) -> Sandbox:
        if session not in self.specs:
            raise NotFound(f"the launcher has no sandbox of {session}")
        name = self.specs[session].name
        return Sandbox(name, f"fake-{name}")

    async def kill_behind_our_back(self, session: str) -> bool:
        """Whether there was something to kill."""
        try:
            sandbox = self._sandbox(session)
            running = (await self.runtime.inspect(sandbox.name)).phase in (Phase.RUNNING, Phase.PAUSED)
            await self.runtime.kill(sandbox)
        except EleAgentError:
            return False
        return running
