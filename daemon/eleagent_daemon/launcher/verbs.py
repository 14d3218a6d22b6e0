"""What does each verb do?"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from eleagent.errors import BadRequest, EleAgentError, VersionSkew
from eleagent.version import __version__
from eleagent_daemon.agents.files import get_dockerfile, get_image_name
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.channel import close_all
from eleagent_daemon.domain.launch import PROTOCOL, AnyAnswer, Done, Notice
from eleagent_daemon.kernel.calls import boot_id
from eleagent_daemon.kernel.child import Children, without_descriptors
from eleagent_daemon.launcher.binary import copy_verified
from eleagent_daemon.launcher.collect import check_target, collect
from eleagent_daemon.launcher.heartbeat import Watchdog
from eleagent_daemon.launcher.host import launcher_facts
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.launcher.sandboxes import Sandboxes
from eleagent_daemon.launcher.sources import Sources
from eleagent_daemon.runtime.seam import Runtime

COLLECT_TIMEOUT_S: Final = 600.0

Answered = tuple[AnyAnswer, Sequence[int]]
Handler = Callable[[Any, list[int]], Awaitable[Answered]]


@dataclass(frozen=True, kw_only=True)
class Verbs:
    """One handler a verb, in `table`. Its answer may come with descriptors; those it is given are closed after it."""

    runtime: Runtime
    sandboxes: Sandboxes
    sources: Sources
    places: Places
    programs: Programs
    children: Children
    owner: int
    notify: Callable[[Notice], None]
    watchdog: Watchdog

    async def hello(self, verb: launch.Hello, fds: list[int]) -> Answered:
        if verb.protocol != PROTOCOL:
            raise VersionSkew(
                f"eleagentd {verb.version} has launch protocol {verb.protocol} and launcher {__version__} {PROTOCOL}; "
                "stop the sessions and start the launcher anew"
            )
        engine, error = "", ""
        try:
            engine = await self.runtime.describe()
        except EleAgentError as failure:
            error = failure.message
        return launch.Greeting(
            protocol=PROTOCOL,
            version=__version__,
            pid=os.getpid(),
            privileged=os.geteuid() == 0,
            runtime=self.runtime.name,
            engine=engine,
            error=error,
            boot_id=boot_id(),
        ), ()

    async def open_source(self, verb: launch.OpenSource, fds: list[int]) -> Answered:
        return await self.sources.open(verb), ()

    async def create(self, verb: launch.Create, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.spec.session):
            return await self.sandboxes.create(verb.spec), ()

    async def attest(self, verb: launch.Attest, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.session):
            return launch.Attested(await self.sandboxes.get(verb.session).guard.attest()), ()

    async def open_doors(self, verb: launch.OpenDoors, fds: list[int]) -> Answered:
        if len(fds) != len(verb.held):
            raise BadRequest(f"{len(fds)} descriptors came with {len(verb.held)} names")
        async with self.sandboxes.lock(verb.session):
            held = {name: socket.socket(fileno=os.dup(fd)) for name, fd in zip(verb.held, fds, strict=True)}
            try:
                doors = await self.sandboxes.get(verb.session).guard.open_doors(held)
            finally:
                for sock in held.values():
                    sock.close()
            return launch.DoorSet(list(doors)), [sock.fileno() for sock in doors.values()]

    async def release(self, verb: launch.Release, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.session):
            await self.sandboxes.get(verb.session).release()
        return Done(), ()

    async def write(self, verb: launch.Write, fds: list[int]) -> Answered:
        """Without a wait, so that pieces keep their order."""
        self.sandboxes.get(verb.session).input.piece(verb.message, verb.data, last=verb.last)
        return Done(), ()

    async def signal(self, verb: launch.Signal, fds: list[int]) -> Answered:
        await self.sandboxes.get(verb.session).signal(verb.signum)
        return Done(), ()

    async def stop(self, verb: launch.Stop, fds: list[int]) -> Answered:
        await self.sandboxes.get(verb.session).stop(verb.grace_s)
        return Done(), ()

    async def pause(self, verb: launch.Pause, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.session):
            await self.sandboxes.get(verb.session).pause()
        return Done(), ()

    async def unpause(self, verb: launch.Unpause, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.session):
            await self.sandboxes.get(verb.session).unpause()
        return Done(), ()

    async def look(self, verb: launch.Look, fds: list[int]) -> Answered:
        self.sandboxes.get(verb.session).look()
        return Done(), ()

    async def inspect(self, verb: launch.Inspect, fds: list[int]) -> Answered:
        return await self.sandboxes.get(verb.session).inspect(), ()

    async def list_all(self, verb: launch.ListAll, fds: list[int]) -> Answered:
        return await self.sandboxes.listing(), ()

    async def collect(self, verb: launch.Collect, fds: list[int]) -> Answered:
        if len(fds) != 1:
            raise BadRequest("collect needs the descriptor of one folder")
        check_target(fds[0], self.owner)
        async with self.sandboxes.lock(verb.session):
            spec = self.sandboxes.get(verb.session).record.spec

            job = partial(
                collect,
                partial(self.places.artefacts, spec),
                target_fd=fds[0],
                owner=self.owner,
                limit_bytes=verb.limit_bytes,
                limit_files=verb.limit_files,
            )
            return await self.children.run(
                partial(without_descriptors, job), launch.Collected, keep=fds, timeout_s=COLLECT_TIMEOUT_S
            )

    async def remove(self, verb: launch.Remove, fds: list[int]) -> Answered:
        async with self.sandboxes.lock(verb.session):
            await self.sandboxes.remove(verb.session, forget=verb.forget)
        return Done(), ()

    async def consumed(self, verb: launch.Consumed, fds: list[int]) -> Answered:
        if sandbox := self.sandboxes.find(verb.session):
            sandbox.consumed(verb.offset)
        return Done(), ()

    async def images(self, verb: launch.Images, fds: list[int]) -> Answered:
        return launch.ImageSet(await self.runtime.images(verb.reference)), ()

    async def build(self, verb: launch.Build, fds: list[int]) -> Answered:
        image = get_image_name(verb.agent)
        if len(fds) != (1 if image.lock else 0):
            raise BadRequest(f"{len(fds)} descriptors came to build {image.reference}")
        files = {verb.agent: await copy_verified(fds[0], image.lock, self.places.root)} if image.lock else {}
        try:
            async for line in self.runtime.build(image.reference, get_dockerfile(verb.agent), files, image.labels):
                self.notify(Notice(session=image.reference, text=line))
        finally:
            close_all(list(files.values()))
        return launch.ImageSet(await self.runtime.images(image.reference)), ()

    async def host(self, verb: launch.Host, fds: list[int]) -> Answered:
        facts = launcher_facts(needs_root=self.runtime.needs_root)
        return launch.HostFacts([*facts, await self.programs.fact(), *await self.runtime.facts()]), ()

    async def heartbeat(self, verb: launch.Heartbeat, fds: list[int]) -> Answered:
        self.watchdog.beat(verb)
        return Done(), ()

    def table(self) -> Mapping[type, Handler]:
        return {
            launch.Hello: self.hello,
            launch.OpenSource: self.open_source,
            launch.Create: self.create,
            launch.Attest: self.attest,
            launch.OpenDoors: self.open_doors,
            launch.Release: self.release,
            launch.Write: self.write,
            launch.Signal: self.signal,
            launch.Stop: self.stop,
            launch.Pause: self.pause,
            launch.Unpause: self.unpause,
            launch.Look: self.look,
            launch.Inspect: self.inspect,
            launch.ListAll: self.list_all,
            launch.Collect: self.collect,
            launch.Remove: self.remove,
            launch.Consumed: self.consumed,
            launch.Heartbeat: self.heartbeat,
            launch.Images: self.images,
            launch.Build: self.build,
            launch.Host: self.host,
        }
