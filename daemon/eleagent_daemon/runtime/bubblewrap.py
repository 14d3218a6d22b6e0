"""How does bubblewrap make sandboxes, where there is no engine? As root, or as the person that the launcher runs as.

One folder a sandbox below `state`: `made.json` is what was asked for, the rest is its holder's (holder.py). What runs
is judged by processes and their starts alone, never by files.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import Conflict, EleAgentError, IsolationFailed, NotFound
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.confinement import TERMINALS
from eleagent_daemon.domain.launch import Entry, HostFact, ImageFacts
from eleagent_daemon.domain.sandbox import LABEL, Person, Phase, Placement, SandboxSpec, Status
from eleagent_daemon.domain.seccomp_compile import compile_filter
from eleagent_daemon.kernel.calls import command_line, namespace_inode
from eleagent_daemon.kernel.watch import FolderWatch
from eleagent_daemon.runtime import processes
from eleagent_daemon.runtime.bubblewrap_facts import bubblewrap_facts, find_program, version
from eleagent_daemon.runtime.bubblewrap_images import Images
from eleagent_daemon.runtime.bubblewrap_log import LogReader
from eleagent_daemon.runtime.bubblewrap_render import Host, Rendering, render
from eleagent_daemon.runtime.bubblewrap_start import HOLDER, INFO, Start, spawn
from eleagent_daemon.runtime.groups import Groups
from eleagent_daemon.runtime.holder import put
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Sandbox, View

_MADE: Final = "made.json"
_INIT: Final = "init"
_PAUSED: Final = "paused"
_LIVE: Final = (Phase.RUNNING, Phase.PAUSED)
_PAUSE_S: Final = 5.0
_START_S: Final = 20.0
_STEP_S: Final = 0.002
_LOOK_S: Final = 0.5
"""How often what waits for a change looks without one."""
_GONE_S: Final = 10.0

Render = Callable[..., Rendering]


class _Made(msgspec.Struct, frozen=True):
    spec: SandboxSpec
    placement: Placement
    made: float


class _Info(msgspec.Struct):
    """What bubblewrap writes to --info-fd."""

    pid: int = msgspec.field(name="child-pid")
    namespace: int = msgspec.field(name="pid-namespace", default=0)


@dataclass(frozen=True)
class _Holder:
    """Who holds a sandbox's pipes; `stdin` is his descriptor of the write end, `child` is bubblewrap."""

    pid: int
    ticks: int
    stdin: int
    child: int
    child_ticks: int

    @property
    def alive(self) -> bool:
        return processes.is_alive(self.pid, self.ticks)


class BubblewrapRuntime:
    """`state` is a folder that nobody else may enter. `render` and `groups` are others in tests alone."""

    name = "bubblewrap"
    needs_root = False

    def __init__(
        self, *, state: Path, installation: str, render: Render = render, groups: Groups | None = None
    ) -> None:
        self._sandboxes = state / "sandboxes"
        self._installation = installation
        self._render = render
        self._images = Images(state / "agents")
        self._host = Host.look()
        self._groups = groups or Groups.find()
        self._watch = FolderWatch()
        self._filter = compile_filter(seccomp.load())
        self._sandboxes.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def describe(self) -> str:
        program = find_program()
        return f"bubblewrap {version(program)} at {program}, {_who()}"

    async def facts(self) -> list[HostFact]:
        return bubblewrap_facts(self._groups)

    async def create(self, spec: SandboxSpec, placement: Placement) -> Sandbox:
        """Raises Conflict when something else has the name."""
        find_program()
        self._images.get(spec.image)
        new = self._sandboxes / f".new-{secrets.token_hex(8)}"
        new.mkdir(mode=0o700)
        (new / _MADE).write_bytes(msgspec.json.encode(_Made(spec, placement, time.time())))
        try:
            new.rename(self._folder(spec.name))
        except OSError:
            shutil.rmtree(new)
            made = self._made(spec.name)
            if not spec.labels.items() <= made.spec.labels.items():
                raise Conflict(
                    f"the name {spec.name} is taken by a sandbox that is not this session's", name=spec.name
                ) from None
        return Sandbox(spec.name, spec.name)

    async def attach(self, sandbox: Sandbox) -> tuple[AsyncIterator[Chunk], InputChannel]:
        return await self.replay(sandbox, Cursor())

    async def replay(self, sandbox: Sandbox, cursor: Cursor) -> tuple[AsyncIterator[Chunk], InputChannel]:
        self._made(sandbox.name)
        channel = _Input(lambda: self._open_stdin(sandbox.name))
        return self._output(sandbox.name, cursor, channel), channel

    async def start(self, sandbox: Sandbox) -> None:
        """Returns when the gate is there. Raises IsolationFailed with what bubblewrap said."""
        made, folder = self._made(sandbox.name), self._folder(sandbox.name)
        holder = self._holder(sandbox.name)
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
        """`pid` is the holder's."""
        until = time.monotonic() + _START_S
        while time.monotonic() < until and processes.is_there(pid):
            init = self._init(name)
            if init[0] and command_line(processes.main_process(init[0])) == spec.gate():
                put(str(self._folder(name) / _INIT), " ".join(map(str, init)))
                return
            await asyncio.sleep(_STEP_S)
        said = b"".join(chunk.data for chunk in LogReader(self._folder(name), Cursor()).read()).decode(errors="replace")
        raise IsolationFailed(
            f"bubblewrap did not make the sandbox: {said.strip()[:500] or 'it said nothing'} (see: eleagent doctor)"
        )

    async def inspect(self, name: str) -> Status:
        return self._inspect(name)

    def _inspect(self, name: str) -> Status:
        folder = self._folder(name)
        if not folder.exists():
            return Status(Phase.GONE)
        holder = self._holder(name)
        if holder is None:
            return Status(Phase.CREATED)
        # Asked in this order: a holder writes down the end before it ends itself.
        pid, ticks, began = self._init(name)
        lives = processes.is_alive(pid, ticks)
        alive = holder.alive or lives or processes.is_alive(holder.child, holder.child_ticks)
        started = datetime.fromtimestamp(began, UTC).isoformat() if began else ""
        with contextlib.suppress(FileNotFoundError):
            code = int((folder / "exit").read_text())
            oom = code == 128 + signal.SIGKILL and self._groups.killed(name)
            return Status(Phase.EXITED, exit_code=code, oom=oom, started_at=started)
        if alive:
            phase = Phase.PAUSED if (folder / _PAUSED).exists() else Phase.RUNNING
            return Status(phase, pid=pid if lives else 0, started_at=started)
        error = "the process that held its pipes is gone, and the sandbox with it: nobody knows how it ended"
        return Status(Phase.EXITED, started_at=started, error=error)

    async def wait(self, sandbox: Sandbox) -> Status:
        while True:
            status = self._inspect(sandbox.name)
            if status.phase not in _LIVE:
                return status
            with self._watch.changed(self._folder(sandbox.name)) as changed:
                if self._inspect(sandbox.name).phase in _LIVE:
                    await _briefly(changed)

    async def view(self, sandbox: Sandbox) -> View:
        made, status = self._made(sandbox.name), self._inspect(sandbox.name)
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
        pid, ticks, _ = self._init(sandbox.name)
        if processes.is_alive(pid, ticks) and (main := processes.main_process(pid)):
            processes.send(main, processes.start_ticks_or_none(main), signum)

    async def kill(self, sandbox: Sandbox) -> None:
        """With its init the kernel ends everything in its pid namespace."""
        pid, ticks, _ = self._init(sandbox.name)
        processes.send(pid, ticks, signal.SIGKILL)
        self._thaw(sandbox.name)

    async def pause(self, sandbox: Sandbox) -> None:
        """By the freezer, else every process is told to stop until all of them have."""
        self._made(sandbox.name)
        if self._inspect(sandbox.name).phase not in _LIVE:
            raise Conflict(f"{sandbox.name} can't be paused: it does not run")
        # Before it is true: a launcher that dies over it leaves nothing that stands still and counts as running.
        (self._folder(sandbox.name) / _PAUSED).touch()
        try:
            async with asyncio.timeout(_PAUSE_S):
                stands_still = partial(processes.stop_all, self._init(sandbox.name)[0])
                if self._groups.freeze(sandbox.name, frozen=True):
                    stands_still = partial(self._groups.is_frozen, sandbox.name)
                while not stands_still():  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(_STEP_S)
        except TimeoutError:
            await self.unpause(sandbox)
            raise Conflict(f"{sandbox.name} could not be paused within {_PAUSE_S:g} s: it runs on") from None

    async def unpause(self, sandbox: Sandbox) -> None:
        self._made(sandbox.name)
        if (self._folder(sandbox.name) / _PAUSED).exists():
            self._thaw(sandbox.name)
            processes.go_on(self._init(sandbox.name)[0])
            (self._folder(sandbox.name) / _PAUSED).unlink(missing_ok=True)

    def _thaw(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._groups.freeze(name, frozen=False)

    async def remove(self, name: str) -> None:
        """Raises EleAgentError when something of it is still there afterwards."""
        folder = self._folder(name)
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
            holder = self._holder(name)
            init, ticks, _ = self._init(name)
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
            for folder in self._sandboxes.iterdir():
                if folder.name.startswith("."):
                    continue
                with contextlib.suppress(NotFound):  # it was just being removed
                    made = self._made(folder.name)
                    if wanted.items() <= made.spec.labels.items():
                        phase = self._inspect(folder.name).phase
                        entries.append(Entry(made.spec.session, made.spec.attempt, phase, made.made))
        except (OSError, msgspec.DecodeError):
            return [], False
        return entries, True

    async def close(self) -> None:
        self._watch.close()

    async def _output(self, name: str, cursor: Cursor, channel: _Input) -> AsyncGenerator[Chunk, None]:
        """Until the sandbox has ended or the channel was closed. A chunk that the next one was asked for is stored."""
        folder = self._folder(name)
        reader = LogReader(folder, cursor)
        with self._watch.changed(folder) as changed:
            while not channel.closed:
                changed.clear()
                ended = self._inspect(name).phase in (Phase.EXITED, Phase.GONE)  # asked before what it wrote last
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

    def _open_stdin(self, name: str) -> int:
        """The write end that the holder keeps, opened anew. Raises ConnectionResetError where nobody reads it."""
        holder = self._holder(name)
        try:
            if holder is None:
                raise ConnectionResetError(f"{name} takes no input: it was not started")
            fd = os.open(f"/proc/{holder.pid}/fd/{holder.stdin}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConnectionResetError(f"{name} takes no input: it has ended ({error.strerror})") from None
        if not holder.alive:
            os.close(fd)
            raise ConnectionResetError(f"{name} takes no input: it has ended")
        return fd

    def _folder(self, name: str) -> Path:
        return self._sandboxes / name

    def _made(self, name: str) -> _Made:
        try:
            return msgspec.json.decode((self._folder(name) / _MADE).read_bytes(), type=_Made)
        except FileNotFoundError:
            raise NotFound(f"there is no sandbox {name}") from None

    def _holder(self, name: str) -> _Holder | None:
        try:
            return _Holder(*map(int, (self._folder(name) / HOLDER).read_text().split()))
        except FileNotFoundError:
            return None

    def _init(self, name: str) -> tuple[int, int, float]:
        """Pid, start in ticks and time of start of the init; zeros where there was none yet.

        Until a launcher has seen it at its gate and noted it, it is the one in the namespace that bubblewrap tells of.
        """
        with contextlib.suppress(FileNotFoundError):
            pid, ticks, began = (self._folder(name) / _INIT).read_text().split()
            return int(pid), int(ticks), float(began)
        try:
            told = (self._folder(name) / INFO).read_bytes()
            info = msgspec.json.decode(told, type=_Info)
            if info.namespace in (0, namespace_inode(info.pid, "pid")):
                return info.pid, processes.start_ticks_or_none(info.pid), (self._folder(name) / INFO).stat().st_mtime
        except (OSError, msgspec.DecodeError):  # not there yet, written in part, or gone
            pass
        return 0, 0, 0.0

    def _reap_later(self, pid: int) -> None:
        loop, process = asyncio.get_running_loop(), os.pidfd_open(pid)

        def gone() -> None:
            loop.remove_reader(process)
            os.close(process)
            os.waitpid(pid, 0)

        loop.add_reader(process, gone)


class _Input:
    """The sandbox's stdin, opened when it is first written to. The holder keeps it open, whoever lets go."""

    def __init__(self, open_stdin: Callable[[], int]) -> None:
        self._open = open_stdin
        self._fd = -1
        self.closed = False
        self.wake: asyncio.Event | None = None

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise ConnectionResetError("the sandbox's input was let go of")
        if self._fd < 0:
            self._fd = self._open()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _writable(self._fd)

    async def close(self) -> None:
        self.closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.wake is not None:
            self.wake.set()


async def _writable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)


async def _briefly(changed: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            await changed.wait()


def _who() -> str:
    return "as root" if os.geteuid() == 0 else f"as uid {os.geteuid()}"
