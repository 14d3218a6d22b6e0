"""How is one sandbox made for the probes, whatever the runtime, and what did they say?"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from eleagent_daemon.domain.root import Root
from eleagent_daemon.domain.sandbox import (
    ARTEFACTS_DIR,
    DATA_DIR,
    GATE_WORD,
    HOME_DIR,
    POOL_FIRST_UID,
    WORKSPACE_DIR,
    Doors,
    Limits,
    Person,
    Phase,
    Placement,
    SandboxSpec,
    Status,
)
from eleagent_daemon.launcher.disk import mount_disk
from eleagent_daemon.launcher.identity import write_identity
from eleagent_daemon.launcher.mounts import unmount_all
from eleagent_daemon.runtime.bubblewrap import BubblewrapRuntime
from eleagent_daemon.runtime.bubblewrap_log import LogReader
from eleagent_daemon.runtime.bubblewrap_render import Rendering
from eleagent_daemon.runtime.bubblewrap_render import render as render_bubblewrap
from eleagent_daemon.runtime.docker_render import render
from eleagent_daemon.runtime.groups import Groups
from eleagent_daemon.runtime.seam import Cursor

PROBES = Path(__file__).with_name("probes")
IMAGE = "debian:bookworm-slim"
SMALL = Limits(
    memory_bytes=160 << 20,
    cpus=0.5,
    pids=64,
    nofile=256,
    tmp_bytes=24 << 20,
    run_bytes=8 << 20,
    disk_bytes=48 << 20,
    disk_inodes=2000,
)
"""Small enough that every bomb is over in a moment. The file system's own journal and tables lie within disk_bytes."""

Body = dict[str, Any]
Change = Callable[[Body], None]


@dataclass(frozen=True)
class Told:
    """One probe's line."""

    probe: str
    contained: bool
    outcome: str

    def __str__(self) -> str:
        return f"{self.probe}: {self.outcome}"


def told(output: str) -> dict[str, Told]:
    lines = [json.loads(each) for each in output.splitlines() if each.startswith('{"probe"')]
    return {each["probe"]: Told(**each) for each in lines}


@dataclass(frozen=True)
class Listed:
    probe: str
    group: str
    expects: list[str]


def list_probes() -> list[Listed]:
    """Every probe there is, as the probes themselves say."""
    command = ["python3", "-B", str(PROBES), "--list"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Listed(**json.loads(each)) for each in lines.splitlines()]


@dataclass(frozen=True)
class Arena:
    """What the outside prepared and the probes are told: see `Given` in probes/registry.py, field by field."""

    limits: Limits = SMALL
    uid: int = POOL_FIRST_UID
    facts: dict[str, Any] = field(default_factory=dict)

    def given(self) -> str:
        limits = self.limits
        named = {name: getattr(limits, name) for name in limits.__struct_fields__}
        return json.dumps({"uid": self.uid, **named, **self.facts})


class Box(Protocol):
    """A started sandbox. `ended` waits for its end; `output` is all it wrote, as text."""

    def ended(self, timeout_s: float) -> str: ...

    def output(self) -> str: ...

    def pid(self) -> int: ...


class Runtime(Protocol):
    """Starts `argv` in a sandbox of its own, with the probes read-only in /data; it is gone when the context ends."""

    def box(self, argv: Sequence[str], arena: Arena) -> contextlib.AbstractContextManager[Box]: ...


def probe_argv(arena: Arena, *, only: Sequence[str] = (), group: str = "") -> list[str]:
    chosen = ["--only", ",".join(only)] if only else ["--group", group]
    return ["python3", f"{DATA_DIR}/probes", *chosen, "--given", arena.given()]


def run_probes(runtime: Runtime, arena: Arena, *, only: Sequence[str] = (), group: str = "") -> dict[str, Told]:
    with runtime.box(probe_argv(arena, only=only, group=group), arena) as box:
        output = box.ended(90.0)
    answers = told(output)
    assert answers, f"the probes said nothing: {output[-2000:]}"
    return answers


class Engine:
    """The few calls of the Engine API that a test needs, without our own client in between."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._socket_path)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content_back = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content_back[:500]!r}")
        return content_back


def unframed(stream: bytes) -> str:
    """The engine's output as text: frames of a byte, three zeros and a big-endian length. A terminal's is bare."""
    if stream[1:4] != bytes(3):
        return stream.decode(errors="replace")
    pieces = []
    while len(stream) >= 8:
        size = int.from_bytes(stream[4:8])
        pieces.append(stream[8 : 8 + size])
        stream = stream[8 + size :]
    return b"".join(pieces).decode(errors="replace")


@dataclass(frozen=True)
class DockerBox:
    engine: Engine
    name: str

    def ended(self, timeout_s: float) -> str:
        ends = time.monotonic() + timeout_s
        while self._state()["Running"]:
            if time.monotonic() > ends:
                raise TimeoutError(f"after {timeout_s} s it still runs; so far: {self.output()[-2000:]}")
            time.sleep(0.05)
        return self.output()

    def output(self) -> str:
        return unframed(self.engine.ask("GET", f"/containers/{self.name}/logs?stdout=1&stderr=1"))

    def pid(self) -> int:
        return int(self._state()["Pid"])

    def _state(self) -> Body:
        state: Body = json.loads(self.engine.ask("GET", f"/containers/{self.name}/json"))["State"]
        return state


@contextlib.contextmanager
def _place(uid: int, limits: Limits, *, limited: bool, named: bool = False) -> Iterator[Placement]:
    """The folders of one session as the launcher prepares them; not `limited`: on the host's own disk; `named`: with
    the names that an image brings otherwise.

    /data is the sandbox user's own and a shared mount of the host's: nothing but the flags is in the way.
    """
    top = Path(tempfile.mkdtemp(prefix="ele-escape-"))
    top.chmod(0o711)
    disk, data = top / "disk", top / "data"
    if os.getuid():
        yield from _place_as_a_person(top, uid)
        return
    try:
        shutil.copytree(PROBES, data / "probes", ignore=shutil.ignore_patterns("__pycache__", ".*", "*.toml"))
        for folder, _, names in os.walk(data):
            for path in (Path(folder), *(Path(folder, each) for each in names)):
                os.chown(path, uid, uid)
        subprocess.run(["mount", "--bind", "--make-shared", str(data), str(data)], check=True)
        if limited:
            mount_disk(top / "image", disk, limits, uid)
        else:
            for each in ("home", "workspace", "artefacts"):
                (disk / each).mkdir(parents=True)
                os.chown(disk / each, uid, uid)
        targets = {HOME_DIR: "home", WORKSPACE_DIR: "workspace", ARTEFACTS_DIR: "artefacts"}
        writable = {target: str(disk / name) for target, name in targets.items()}
        (top / "etc").mkdir()
        identity = write_identity(top / "etc", uid) if named else {}
        yield Placement(writable=writable, readonly=identity | {DATA_DIR: str(data)})
    finally:
        unmount_all(top)
        shutil.rmtree(top)


def _place_as_a_person(top: Path, uid: int) -> Iterator[Placement]:
    """The same without mounts and without a limit."""
    try:
        shutil.copytree(PROBES, top / "data" / "probes", ignore=shutil.ignore_patterns("__pycache__", ".*", "*.toml"))
        targets = {HOME_DIR: "home", WORKSPACE_DIR: "workspace", ARTEFACTS_DIR: "artefacts"}
        for name in targets.values():
            (top / name).mkdir()
        writable = {target: str(top / name) for target, name in targets.items()}
        person = Person(os.getuid(), os.getgid(), os.getgroups())
        identity = write_identity(top / "etc", uid)
        yield Placement(writable=writable, readonly=identity | {DATA_DIR: str(top / "data")}, person=person)
    finally:
        shutil.rmtree(top)


@dataclass(frozen=True)
class BubblewrapBox:
    """`run` runs a coroutine in the box's own event loop."""

    runtime: BubblewrapRuntime
    name: str
    log: Path
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def ended(self, timeout_s: float) -> str:
        ends = time.monotonic() + timeout_s
        while self._status().phase is Phase.RUNNING:
            if time.monotonic() > ends:
                raise TimeoutError(f"after {timeout_s} s it still runs; so far: {self.output()[-2000:]}")
            time.sleep(0.05)
        return self.output()

    def output(self) -> str:
        return b"".join(chunk.data for chunk in LogReader(self.log, Cursor()).read()).decode(errors="replace")

    def wait_for(self, text: str) -> None:
        ends = time.monotonic() + 20
        while text not in self.output():
            assert time.monotonic() < ends, self.output()
            time.sleep(0.1)

    def pid(self) -> int:
        return int(self._status().pid)

    def _status(self) -> Status:
        status: Status = self.run(self.runtime.inspect(self.name))
        return status


@dataclass(frozen=True)
class BubblewrapSandboxes:
    """Sandboxes of the runtime `bubblewrap`, with `change` done to what was rendered; `without` are the controllers
    that it is to find no control groups of.
    """

    change: Callable[[Rendering], Rendering] = lambda rendering: rendering
    prepare: Callable[[Placement], None] = lambda placement: None
    limited_disk: bool = True
    without: frozenset[str] = frozenset()

    def spec(self, argv: Sequence[str], arena: Arena) -> SandboxSpec:
        return SandboxSpec(
            session=f"s-{uuid.uuid4().hex[:10]}", installation="escape", attempt=1, image=Root(agent="command").digest,
            argv=tuple(argv), env={"HOME": HOME_DIR, "PATH": "/usr/local/bin:/usr/bin:/bin"}, uid=arena.uid,
            stdin=False, doors=Doors(model=810), limits=arena.limits,
        )  # fmt: skip

    @contextlib.contextmanager
    def box(self, argv: Sequence[str], arena: Arena) -> Iterator[BubblewrapBox]:
        spec = self.spec(argv, arena)
        with (
            tempfile.TemporaryDirectory(prefix="ele-escape-state-") as state,
            _place(arena.uid, arena.limits, limited=self.limited_disk, named=True) as placement,
            _loop() as run,
        ):
            self.prepare(placement)
            runtime = run(self._connect(Path(state)))
            sandbox = run(runtime.create(spec, placement))
            try:
                run(runtime.start(sandbox))
                _, channel = run(runtime.attach(sandbox))
                run(channel.write(GATE_WORD))
                yield BubblewrapBox(runtime, spec.name, Path(state, "sandboxes", spec.name), run)
            finally:
                run(runtime.remove(spec.name))
                run(runtime.close())

    async def _connect(self, state: Path) -> BubblewrapRuntime:
        found = Groups.find()
        kept = {name: parent for name, parent in found.parents.items() if name not in self.without}
        return BubblewrapRuntime(
            state=state,
            installation="escape",
            render=lambda *given, **more: self.change(render_bubblewrap(*given, **more)),
            groups=Groups(kept, found.unified),
        )


@contextlib.contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """An event loop beside the test's own, which may have one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class DockerSandboxes:
    """Sandboxes from the rendered spec, and from nothing else, with `change` done to what was rendered and `prepare` to
    the folders before the start.

    The gate is left out: it is no wall, and has tests of its own.
    """

    engine: Engine
    change: Change = lambda body: None
    prepare: Callable[[Placement], None] = lambda placement: None
    limited_disk: bool = True

    def spec(self, argv: Sequence[str], arena: Arena) -> SandboxSpec:
        image = json.loads(self.engine.ask("GET", f"/images/{IMAGE}/json"))["Id"]
        return SandboxSpec(
            session=f"s-{uuid.uuid4().hex[:10]}", installation="escape", attempt=1, image=image, argv=tuple(argv),
            env={"HOME": HOME_DIR, "PATH": "/usr/local/bin:/usr/bin:/bin"}, uid=arena.uid, stdin=False,
            doors=Doors(model=810), limits=arena.limits,
        )  # fmt: skip

    @contextlib.contextmanager
    def box(self, argv: Sequence[str], arena: Arena) -> Iterator[DockerBox]:
        spec = self.spec(argv, arena)
        with _place(arena.uid, arena.limits, limited=self.limited_disk) as placement:
            self.prepare(placement)
            body: Body = copy.deepcopy(render(spec, placement))
            body |= {"Entrypoint": [], "Cmd": list(argv), "OpenStdin": False, "AttachStdin": False}
            self.change(body)
            self.engine.ask("POST", f"/containers/create?name={spec.name}", body)
            try:
                self.engine.ask("POST", f"/containers/{spec.name}/start")
                yield DockerBox(self.engine, spec.name)
            finally:
                self.engine.ask("DELETE", f"/containers/{spec.name}?force=1&v=1")
