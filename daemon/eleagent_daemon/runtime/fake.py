"""How is the launcher tested without an engine? A runtime of plain local processes: no isolation at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from eleagent.errors import Conflict, EleAgentError, EngineUnavailable, ImageMissing, NotFound
from eleagent_daemon.domain.launch import Entry, HostFact, ImageFacts
from eleagent_daemon.domain.sandbox import LABEL, Phase, Placement, SandboxSpec, Status
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Sandbox, Stream, View

_POLL_S = 0.005
_PIECE_BYTES = 64 * 1024
_STREAMS: tuple[Stream, Stream] = ("out", "err")


@dataclass
class _Held:
    """One sandbox: its output goes to two files, which are its log; its stdin stays open here, whoever lets go."""

    spec: SandboxSpec
    placement: Placement
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    made: float = field(default_factory=time.time)
    started_at: str = ""
    paused: bool = False

    def status(self) -> Status:
        if self.process is None:
            return Status(Phase.CREATED)
        code = self.process.poll()
        if code is None:
            phase = Phase.PAUSED if self.paused else Phase.RUNNING
            return Status(phase, pid=self.process.pid, started_at=self.started_at)
        return Status(Phase.EXITED, exit_code=code if code >= 0 else 128 - code, started_at=self.started_at)


@dataclass
class FakeEngine:
    """What outlives a runtime object: sandboxes and images. `down` makes every question fail as a dead engine would."""

    folder: Path
    images: set[str] = field(default_factory=set)
    down: bool = False
    held: dict[str, _Held] = field(default_factory=dict)

    def ask(self) -> None:
        if self.down:
            raise EngineUnavailable(f"no container engine at {self.folder}: this one was switched off by a test")

    def get(self, name: str) -> _Held:
        self.ask()
        if name not in self.held:
            raise NotFound(f"no sandbox {name}")
        return self.held[name]


class FakeRuntime:
    name = "fake"
    needs_root = False

    def __init__(self, *, engine: FakeEngine, installation: str) -> None:
        self._engine = engine
        self._installation = installation

    async def describe(self) -> str:
        self._engine.ask()
        return f"plain processes below {self._engine.folder}"

    async def facts(self) -> list[HostFact]:
        return [HostFact("engine", "fail", "plain processes, no isolation", "use a real runtime")]

    async def create(self, spec: SandboxSpec, placement: Placement) -> Sandbox:
        self._engine.ask()
        if spec.image not in self._engine.images:
            raise ImageMissing(f"image {spec.image} is not there: build it with `eleagent image build NAME`")
        held = self._engine.held.get(spec.name)
        if held is None:
            folder = self._engine.folder / spec.name
            folder.mkdir()
            held = self._engine.held[spec.name] = _Held(spec, placement, folder)
            for stream in _STREAMS:
                (folder / stream).touch()
        elif held.spec.labels != spec.labels:
            raise Conflict(f"the name {spec.name} is taken by a sandbox that is not this session's")
        return Sandbox(spec.name, f"fake-{spec.name}")

    async def attach(self, sandbox: Sandbox) -> tuple[AsyncIterator[Chunk], InputChannel]:
        return await self.replay(sandbox, Cursor())

    async def replay(self, sandbox: Sandbox, cursor: Cursor) -> tuple[AsyncIterator[Chunk], InputChannel]:
        channel = _Input(self._engine.get(sandbox.name))
        return _follow(self._engine.get(sandbox.name), cursor, channel), channel

    async def start(self, sandbox: Sandbox) -> None:
        held = self._engine.get(sandbox.name)
        if held.process is not None:
            return
        held.started_at = datetime.now(UTC).isoformat()
        with (held.folder / "out").open("ab") as out, (held.folder / "err").open("ab") as err:
            held.process = await asyncio.to_thread(_spawn, held, out, err)

    async def inspect(self, name: str) -> Status:
        try:
            return self._engine.get(name).status()
        except NotFound:
            return Status(Phase.GONE)
        except EngineUnavailable as err:
            return Status(Phase.LOST, error=err.message)

    async def wait(self, sandbox: Sandbox) -> Status:
        while True:
            status = await self.inspect(sandbox.name)
            if status.phase not in (Phase.RUNNING, Phase.PAUSED):
                return status
            await asyncio.sleep(_POLL_S)

    async def view(self, sandbox: Sandbox) -> View:
        """Its processes are those of its session (setsid), which is what a process group of its own amounts to."""
        held = self._engine.get(sandbox.name)
        status = held.status()
        pids = await asyncio.to_thread(_session, status.pid) if status.pid else []
        return View(status, pids, {"runtime": self.name, "image": held.spec.image})

    async def signal(self, sandbox: Sandbox, signum: int) -> None:
        try:
            held = self._engine.get(sandbox.name)
        except NotFound:
            return
        if held.process is not None and held.process.poll() is None:
            held.process.send_signal(signum)

    async def kill(self, sandbox: Sandbox) -> None:
        _send((await self.view(sandbox)).pids, signal.SIGKILL)

    async def pause(self, sandbox: Sandbox) -> None:
        held = self._engine.get(sandbox.name)
        if held.status().phase not in (Phase.RUNNING, Phase.PAUSED):
            raise Conflict(f"{sandbox.name} can't be paused: it does not run")
        still: set[int] = set()
        # One that was not stopped yet may have forked meanwhile.
        while fresh := set((await self.view(sandbox)).pids) - still:
            _send(fresh, signal.SIGSTOP)
            still |= fresh
        held.paused = True

    async def unpause(self, sandbox: Sandbox) -> None:
        held = self._engine.get(sandbox.name)
        if held.paused:
            held.paused = False
            _send((await self.view(sandbox)).pids, signal.SIGCONT)

    async def remove(self, name: str) -> None:
        self._engine.ask()
        held = self._engine.held.get(name)
        if held is None:
            return
        await self.kill(Sandbox(name, ""))
        if held.process is not None:
            await asyncio.to_thread(held.process.wait)
            if held.process.stdin is not None:
                held.process.stdin.close()
        del self._engine.held[name]

    async def images(self, reference: str) -> list[ImageFacts]:
        self._engine.ask()
        return [ImageFacts(name, name, 0, "", {}) for name in sorted(self._engine.images) if reference in ("", name)]

    async def build(
        self, reference: str, dockerfile: str, files: Mapping[str, int], labels: Mapping[str, str]
    ) -> AsyncIterator[str]:
        self._engine.ask()
        if not dockerfile.lstrip().startswith("FROM "):
            raise EleAgentError(f"image {reference} was not built: its first line is no FROM")
        self._engine.images.add(reference)
        yield f"Step 1/1 : {dockerfile.strip().splitlines()[0]}"

    async def close(self) -> None:
        return

    async def list(self, labels: Mapping[str, str]) -> tuple[list[Entry], bool]:
        if self._engine.down:
            return [], False
        wanted = {f"{LABEL}.installation": self._installation, **labels}
        found = [held for held in self._engine.held.values() if wanted.items() <= held.spec.labels.items()]
        return [Entry(held.spec.session, held.spec.attempt, held.status().phase, held.made) for held in found], True


class _Input:
    def __init__(self, held: _Held) -> None:
        self._held = held
        self.closed = False

    async def write(self, data: bytes) -> None:
        process = self._held.process
        if self.closed or process is None or process.stdin is None or process.poll() is not None:
            raise ConnectionResetError("the sandbox's input is closed: it does not run or was let go of")
        await asyncio.to_thread(_write_all, process.stdin, data)

    async def close(self) -> None:
        self.closed = True


async def _follow(held: _Held, cursor: Cursor, channel: _Input) -> AsyncIterator[Chunk]:
    taken: dict[Stream, int] = {"out": cursor.out, "err": cursor.err}
    while not channel.closed:
        ended = held.status().phase is Phase.EXITED  # asked before reading: what it wrote last is read then
        quiet = True
        for stream in _STREAMS:
            data = await asyncio.to_thread(_read_at, held.folder / stream, taken[stream])
            if data:
                quiet = False
                taken[stream] += len(data)
                yield Chunk(stream, data)
        if quiet and ended:
            return
        if quiet:
            await asyncio.sleep(_POLL_S)


def _spawn(held: _Held, out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
    folder = held.placement.writable.get(held.spec.workdir, str(held.folder))
    return subprocess.Popen(
        held.spec.gate(),
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=err,
        env=held.spec.env,
        cwd=folder,
        start_new_session=True,
        bufsize=0,
    )


def _write_all(stdin: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stdin.write(view) :]


def _read_at(path: Path, position: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(_PIECE_BYTES)


def _send(pids: Iterable[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def _session(leader: int) -> list[int]:
    """proc_pid_stat(5): the session is the fourth field after the name in parentheses."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found, key=lambda pid: (pid != leader, pid))
