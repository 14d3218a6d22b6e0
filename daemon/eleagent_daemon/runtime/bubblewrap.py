"""How does bubblewrap make sandboxes, where there is no engine? As root, or as the person that the launcher runs as."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import Conflict, EleAgentError, IsolationFailed, NotFound
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.confinement import TERMINALS
from eleagent_daemon.domain.launch import Entry, HostFact, ImageFacts
from eleagent_daemon.domain.sandbox import LABEL, Person, Phase, Placement, SandboxSpec, Status
from eleagent_daemon.domain.seccomp_compile import compile_filter
from eleagent_daemon.kernel.calls import command_line
from eleagent_daemon.kernel.watch import FolderWatch
from eleagent_daemon.runtime import processes
from eleagent_daemon.runtime.bubblewrap_facts import bubblewrap_facts, find_program, version
from eleagent_daemon.runtime.bubblewrap_images import Images
from eleagent_daemon.runtime.bubblewrap_input import Input
from eleagent_daemon.runtime.bubblewrap_log import LogReader
from eleagent_daemon.runtime.bubblewrap_render import Host, Rendering, render
from eleagent_daemon.runtime.bubblewrap_start import Start, spawn
from eleagent_daemon.runtime.bubblewrap_state import INIT, MADE, PAUSED, Made, State
from eleagent_daemon.runtime.groups import Groups
from eleagent_daemon.runtime.holder import put
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Sandbox, View

_LIVE: Final = (Phase.RUNNING, Phase.PAUSED)
_PAUSE_S: Final = 5.0
_START_S: Final = 20.0
_STEP_S: Final = 0.002
_LOOK_S: Final = 0.5
"""How often what waits for a change looks without one."""
_UNTOLD_S: Final = 0.05
_GONE_S: Final = 10.0

Render = Callable[..., Rendering]


class BubblewrapRuntime:
    """`state` is a folder that nobody else may enter. `render` and `groups` are others in tests alone."""

    name = "bubblewrap"
    needs_root = False

    def __init__(
        self, *, state: Path, installation: str, render: Render = render, groups: Groups | None = None
    ) -> None:
        self._installation = installation
        self._render = render
        self._images = Images(state / "agents")
        self._host = Host.look()
        self._groups = groups or Groups.find()
        self._state = State(root=state / "sandboxes", groups=self._groups)
        self._watch = FolderWatch()
        self._filter = compile_filter(seccomp.load())
        self._state.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def describe(self) -> str:
        program = find_program()
        return f"bubblewrap {version(program)} at {program}, {_who()}"

    async def facts(self) -> list[HostFact]:
        return bubblewrap_facts(self._groups)

    async def create(self, spec: SandboxSpec, placement: Placement) -> Sandbox:
        """Raises Conflict when something else has the name."""
        find_program()
        self._images.get(spec.image)
        new = self._state.root / f".new-{secrets.token_hex(8)}"
        new.mkdir(mode=0o700)
        (new / MADE).write_bytes(msgspec.json.encode(Made(spec, placement, time.time())))
        try:
            new.rename(self._state.folder(spec.name))
        except OSError:
            shutil.rmtree(new)
            made = self._state.made(spec.name)
            if not spec.labels.items() <= made.spec.labels.items():
                raise Conflict(
                    f"the name {spec.name} is taken by a sandbox that is not this session's", name=spec.name
                ) from None
        return Sandbox(spec.name, spec.name)

    async def attach(self, sandbox: Sandbox) -> tuple[AsyncIterator[Chunk], InputChannel]:
        return await self.replay(sandbox, Cursor())

    async def replay(self, sandbox: Sandbox, cursor: Cursor) -> tuple[AsyncIterator[Chunk], InputChannel]:
        self._state.made(sandbox.name)
        channel = Input(lambda: self._state.open_stdin(sandbox.name))
        return self._output(sandbox.name, cursor, channel), channel

    async def start(self, sandbox: Sandbox) -> None:
        """Returns when the gate is there. Raises IsolationFailed with what bubblewrap said."""
        made, folder = self._state.made(sandbox.name), self._state.folder(sandbox.name)
        holder = self._state.holder(sandbox.name)
        if holder is None:
            groups = self._groups.make(sandbox.name, made.spec.limits)
            spec, placement = made.spec, made.placement
            counted = "pids" in self._groups.parents
            binary = self._images.get(spec.image)
            rendering = self._render(spec, placement, binary=binary, host=self._host, counted=counted)
            pid = spawn(
                Start(
                    program=find_program(),
                    rendering=rendering,
                    command=spec.gate(),
                    seccomp=self._filter,
                    user=placement.person or Person(spec.uid, spec.uid),
                    namespaces=placement.namespaces,
                    groups=groups,
                    folder=folder,
                    terminals_limit=TERMINALS,
                )
            )
            self._reap_later(pid)
            await self._until_started(sandbox.name, made.spec, pid)

    async def _until_started(self, name: str, spec: SandboxSpec, pid: int) -> None:
        """`pid` is the holder's. Bubblewrap writes down who the init is; what follows up to its gate tells nobody."""
        folder, until = self._state.folder(name), time.monotonic() + _START_S
        with self._watch.changed(folder) as changed:
            while time.monotonic() < until and processes.is_there(pid):
                changed.clear()
                init = self._state.init(name)
                if init[0] and command_line(processes.main_process(init[0])) == spec.gate():
                    put(str(folder / INIT), " ".join(map(str, init)))
                    return
                await (asyncio.sleep(_STEP_S) if init[0] else _briefly(changed, _UNTOLD_S))
        output = b"".join(chunk.data for chunk in LogReader(folder, Cursor()).read())
        said = output.decode(errors="replace").strip()[:500] or "it said nothing"
        raise IsolationFailed(f"bubblewrap did not make the sandbox: {said} (see: eleagent doctor)")

    async def inspect(self, name: str) -> Status:
        return self._state.inspect(name)

    async def wait(self, sandbox: Sandbox) -> Status:
        while True:
            status = self._state.inspect(sandbox.name)
            if status.phase not in _LIVE:
                return status
            with self._watch.changed(self._state.folder(sandbox.name)) as changed:
                if self._state.inspect(sandbox.name).phase in _LIVE:
                    await _briefly(changed)

    async def view(self, sandbox: Sandbox) -> View:
        made, status = self._state.made(sandbox.name), self._state.inspect(sandbox.name)
        profile = seccomp.load().sha256
        applied = {
            "image": made.spec.image,
            "runtime": f"bubblewrap {version(find_program())}, {_who()}",
            "security_opt": f"no-new-privileges, seccomp=sha256:{profile}",
            "control groups": ", ".join(self._groups.parents) or "none",
        }
        return View(status, processes.processes(status.pid) if status.pid else [], applied)

    async def signal(self, sandbox: Sandbox, signum: int) -> None:
        """To the process that the init waits for: bubblewrap's own init heeds nobody."""
        pid, ticks, _ = self._state.init(sandbox.name)
        if processes.is_alive(pid, ticks) and (main := processes.main_process(pid)):
            processes.send(main, processes.start_ticks_or_none(main), signum)

    async def kill(self, sandbox: Sandbox) -> None:
        """With its init the kernel ends everything in its pid namespace."""
        pid, ticks, _ = self._state.init(sandbox.name)
        processes.send(pid, ticks, signal.SIGKILL)
        self._thaw(sandbox.name)

    async def pause(self, sandbox: Sandbox) -> None:
        """By the freezer, else every process is told to stop until all of them have."""
        self._state.made(sandbox.name)
        if self._state.inspect(sandbox.name).phase not in _LIVE:
            raise Conflict(f"{sandbox.name} can't be paused: it does not run")
        # Before it is true: a launcher that dies over it leaves nothing that stands still and counts as running.
        (self._state.folder(sandbox.name) / PAUSED).touch()
        try:
            async with asyncio.timeout(_PAUSE_S):
                while not self._stands_still(sandbox.name):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(_STEP_S)
        except TimeoutError:
            await self.unpause(sandbox)
            raise Conflict(f"{sandbox.name} could not be paused within {_PAUSE_S:g} s: it runs on") from None

    def _stands_still(self, name: str) -> bool:
        """Tell everything in it to, each time anew: version 1 of the control groups waits for ever for a process that
        waited for its vfork as the others froze."""
        if self._groups.freeze(name, frozen=True):
            return self._groups.is_frozen(name)
        return processes.stop_all(self._state.init(name)[0])

    async def unpause(self, sandbox: Sandbox) -> None:
        self._state.made(sandbox.name)
        if (self._state.folder(sandbox.name) / PAUSED).exists():
            self._thaw(sandbox.name)
            processes.go_on(self._state.init(sandbox.name)[0])
            (self._state.folder(sandbox.name) / PAUSED).unlink(missing_ok=True)

    def _thaw(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._groups.freeze(name, frozen=False)

    async def remove(self, name: str) -> None:
        """Raises EleAgentError when something of it is still there afterwards."""
        folder = self._state.folder(name)
        if not folder.exists():
            return
        await self._end(name)
        try:
            self._groups.remove(name)
            shutil.rmtree(folder)
        except OSError as error:
            raise EleAgentError(f"{error.filename} of {name} can't be removed: {error.strerror}", name=name) from None

    async def _end(self, name: str) -> None:
        """The init first, so that those who wait for it see it end; whoever does not end by that is killed as well."""
        until = time.monotonic() + _GONE_S
        signalled = False
        while True:
            holder = self._state.holder(name)
            init, ticks, _ = self._state.init(name)
            theirs = [(holder.child, holder.child_ticks), (holder.pid, holder.ticks)] if holder else []
            alive = [each for each in ((init, ticks), *theirs) if processes.is_alive(*each)]
            if not alive:
                return
            late = signalled and time.monotonic() > until - _GONE_S * 0.9
            for each in alive if late or not init else alive[:1]:
                processes.send(*each, signal.SIGKILL)
            if not signalled:
                self._thaw(name)
            signalled = True
            if time.monotonic() > until:
                raise EleAgentError(f"process {alive[0][0]} of {name} does not end: see its state in /proc", name=name)
            await asyncio.sleep(_STEP_S)

    async def images(self, reference: str) -> list[ImageFacts]:
        return self._images.find(reference)

    async def build(
        self, reference: str, dockerfile: str, files: Mapping[str, int], labels: Mapping[str, str]
    ) -> AsyncGenerator[str, None]:
        """There is nothing to build but a place for the agent's binary."""
        if not self._images.known(reference):
            raise EleAgentError(f"image {reference} is none of this release's")
        await self._images.store(files, labels)
        yield f"{reference} stands on this host's /usr" + (", with its binary beside it" if files else "")

    async def list(self, labels: Mapping[str, str]) -> tuple[list[Entry], bool]:
        wanted = {f"{LABEL}.installation": self._installation, **labels}
        entries = []
        try:
            for folder in self._state.root.iterdir():
                if folder.name.startswith("."):
                    continue
                with contextlib.suppress(NotFound):  # it was just being removed
                    made = self._state.made(folder.name)
                    if wanted.items() <= made.spec.labels.items():
                        phase = self._state.inspect(folder.name).phase
                        entries.append(Entry(made.spec.session, made.spec.attempt, phase, made.made))
        except (OSError, msgspec.DecodeError):
            return [], False
        return entries, True

    async def close(self) -> None:
        self._watch.close()

    async def _output(self, name: str, cursor: Cursor, channel: Input) -> AsyncGenerator[Chunk, None]:
        """Until the sandbox has ended or the channel was closed. A chunk that the next one was asked for is stored."""
        folder = self._state.folder(name)
        reader = LogReader(folder, cursor)
        with self._watch.changed(folder) as changed:
            while not channel.closed:
                changed.clear()
                ended = self._state.inspect(name).phase in (Phase.EXITED, Phase.GONE)  # asked before what it wrote last
                some = False
                with contextlib.suppress(FileNotFoundError):
                    for chunk in reader.read():
                        some = True
                        yield chunk
                        reader.store_taken()
                        if channel.closed:
                            return
                if some:
                    continue
                if ended:
                    return
                channel.wake = changed
                await _briefly(changed)

    def _reap_later(self, pid: int) -> None:
        loop, process = asyncio.get_running_loop(), os.pidfd_open(pid)

        def gone() -> None:
            loop.remove_reader(process)
            os.close(process)
            os.waitpid(pid, 0)

        loop.add_reader(process, gone)


async def _briefly(changed: asyncio.Event, most_s: float = _LOOK_S) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await changed.wait()


def _who() -> str:
    return "as root" if os.geteuid() == 0 else f"as uid {os.geteuid()}"
