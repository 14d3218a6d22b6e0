"""How does a Docker engine, or Podman's socket, make sandboxes?

Differences of Podman's socket that are known: the log driver `local` is Docker's (Podman's own is `k8s-file`, in which
a gap can't be noticed), states have more names, an upgrade may be answered with 200.

Podman 4.3.1 was tried and does not serve: it takes a seccomp profile as a file's name alone and knows neither nr_inodes
nor uid of a tmpfs. Asked without these it ignores the masked paths and adds a writable, executable /var/tmp and files
over /etc/passwd and /etc/group, so nothing is asked of it more weakly.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import msgspec

from eleagent.errors import Conflict, EleAgentError, EngineUnavailable, ImageMissing, IsolationFailed, NotFound
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.launch import Entry, HostFact, ImageFacts
from eleagent_daemon.domain.sandbox import LABEL, Phase, Placement, SandboxSpec, Status
from eleagent_daemon.runtime import cgroup
from eleagent_daemon.runtime.docker_answers import Container, Version, ended_with_engine, phase
from eleagent_daemon.runtime.docker_engine import Engine
from eleagent_daemon.runtime.docker_facts import engine_facts
from eleagent_daemon.runtime.docker_images import build_image, find_images
from eleagent_daemon.runtime.docker_render import render
from eleagent_daemon.runtime.docker_replay import Replay
from eleagent_daemon.runtime.docker_streams import Frames, Hijacked, Input
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Sandbox, View

_RETRY_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0)
"""How long `wait` bears with an engine that is away: 29 s; a restart with live-restore took up to 5."""
_GONE_DELAYS_S = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_START_LIMIT_S = 120.0


class DockerRuntime:
    """`socket` is a path or `unix://…`. The engine is first asked when something is wanted of it."""

    name = "docker"
    needs_root = True

    def __init__(self, *, socket: str, installation: str) -> None:
        self._engine = Engine(socket=socket)
        self._installation = installation

    async def describe(self) -> str:
        async with self._engine.asked("say its version") as docker:
            version = msgspec.convert(await docker.version(), Version)
        kind = "Podman" if version.is_podman else "Docker Engine"
        return f"{kind} {version.version} (API {version.api_version}) at {self._engine.socket}"

    async def facts(self) -> list[HostFact]:
        try:
            return await engine_facts(self._engine)
        except EngineUnavailable as err:
            found, _, fix = err.message.partition(": ")
            return [HostFact("engine", "fail", found, fix)]

    async def create(self, spec: SandboxSpec, placement: Placement) -> Sandbox:
        """Raises Conflict when something else has the name, IsolationFailed when Podman does not make it as asked."""
        version = await self._engine.version()
        body = render(spec, placement, podman=version.is_podman)
        for _ in range(3):
            try:
                async with self._engine.asked("make a sandbox") as docker:
                    made = await docker.containers.create(body, name=spec.name)
                    return Sandbox(spec.name, made.id)
            except NotFound as err:
                raise ImageMissing(
                    f"image {spec.image} is not on this engine: build it with `eleagent image build NAME`",
                    image=spec.image,
                ) from err
            except Conflict:
                try:
                    return await self._adopt(spec)
                except NotFound:
                    continue  # what had the name was just being removed
            except EleAgentError as err:
                if isinstance(err, EngineUnavailable) or not version.is_podman:
                    raise
                raise _podman_refuses(version, err) from err
        raise Conflict(f"the engine neither makes {spec.name} nor shows what has this name: try again", name=spec.name)

    async def _adopt(self, spec: SandboxSpec) -> Sandbox:
        found = await self._container(spec.name)
        if spec.labels.items() <= found.labels.items():
            return Sandbox(spec.name, found.id)
        raise Conflict(
            f"container {found.id[:12]} has the name {spec.name} and is not this session's: remove or rename it",
            name=spec.name,
        )

    async def attach(self, sandbox: Sandbox) -> tuple[AsyncIterator[Chunk], InputChannel]:
        """One connection for both ways: closing the channel ends the output, the sandbox's end closes the channel."""
        connection = await self._engine.hijack("attach to a sandbox", _attach(sandbox, "stdin=1&stdout=1&stderr=1"))
        return self._attached(connection), Input(connection=connection)

    async def _attached(self, connection: Hijacked) -> AsyncGenerator[Chunk, None]:
        try:
            frames = Frames(connection.reader)
            async with self._engine.asked("hand on a sandbox's output", None):
                while chunk := await frames.next():
                    yield chunk
        finally:
            connection.close()

    async def replay(self, sandbox: Sandbox, cursor: Cursor) -> tuple[AsyncIterator[Chunk], InputChannel]:
        async def ready(connection: Hijacked | None) -> Hijacked:
            # An engine keeps a connection for input alone open when its container has ended: only inspection tells.
            found = (await self.inspect(sandbox.id)).phase
            if found is not Phase.RUNNING and (connection is None or found is not Phase.PAUSED):
                raise ConnectionResetError(f"{sandbox.name} takes no input: it is {found}")
            return connection or await self._engine.hijack("attach to its input", _attach(sandbox, "stdin=1"))

        container = await self._container(sandbox.id)
        return Replay(engine=self._engine, container=container).after(cursor), Input(ready=ready)

    async def start(self, sandbox: Sandbox) -> None:
        async with self._engine.asked("start a sandbox", _START_LIMIT_S) as docker:
            await docker.containers.container(sandbox.id).start()

    async def inspect(self, name: str) -> Status:
        """LOST when the engine can't be asked, or goes: then nobody knows whether it runs, or what ended it."""
        try:
            status = (await self._container(name)).state.read()
            if status.phase is not Phase.EXITED:
                return status  # the engine's beginning matters to an end alone
            return msgspec.structs.replace(status, orphaned=ended_with_engine(status, await self._engine.began()))
        except NotFound:
            return Status(Phase.GONE)
        except EleAgentError as err:
            return Status(Phase.LOST, error=err.message)

    async def wait(self, sandbox: Sandbox) -> Status:
        """At once for what was never started. LOST when the engine stayed away for half a minute."""
        delays = iter(_RETRY_DELAYS_S)
        while True:
            status = await self.inspect(sandbox.id)
            if status.phase is Phase.LOST:
                delay = next(delays, None)
                if delay is None:
                    return status
                await asyncio.sleep(delay)
                continue
            if status.phase not in (Phase.RUNNING, Phase.PAUSED):
                return status
            delays = iter(_RETRY_DELAYS_S)
            try:
                async with self._engine.asked("wait for a sandbox", None) as docker:
                    await docker.containers.container(sandbox.id).wait()
            except EleAgentError:
                await asyncio.sleep(_RETRY_DELAYS_S[0])

    async def view(self, sandbox: Sandbox) -> View:
        found = await self._container(sandbox.id)
        status = found.state.read()
        host = found.host_config
        shown = {name: _text(host.get(key)) for name, key in _SHOWN.items()}
        options = [_short(str(option)) for option in host.get("SecurityOpt") or []]
        log = found.log
        applied = shown | {
            "image": found.image,
            "user": found.config.user,
            "storage_driver": found.driver,
            "apparmor": found.app_armor_profile,
            "security_opt": ", ".join(options),
            "restart": _text((host.get("RestartPolicy") or {}).get("Name")),
            "log_driver": log.type,
        }
        return View(status, cgroup.processes(status.pid) if status.pid else [], applied)

    async def signal(self, sandbox: Sandbox, signum: int) -> None:
        """To the init, which forwards it. Nothing happens to what does not run."""
        try:
            async with self._engine.asked("signal a sandbox") as docker:
                await docker.containers.container(sandbox.id).kill(signal=str(signum))
        except (NotFound, Conflict):
            return

    async def kill(self, sandbox: Sandbox) -> None:
        await self.signal(sandbox, signal.SIGKILL)

    async def pause(self, sandbox: Sandbox) -> None:
        try:
            async with self._engine.asked("pause a sandbox") as docker:
                await docker.containers.container(sandbox.id).pause()
        except (EngineUnavailable, NotFound):
            raise
        except EleAgentError:  # one that is paused already is refused like one that can't be
            if (await self._container(sandbox.id)).state.read().phase is not Phase.PAUSED:
                raise

    async def unpause(self, sandbox: Sandbox) -> None:
        try:
            async with self._engine.asked("unpause a sandbox") as docker:
                await docker.containers.container(sandbox.id).unpause()
        except (EngineUnavailable, NotFound):
            raise
        except EleAgentError:
            if (await self._container(sandbox.id)).state.read().phase is Phase.PAUSED:
                raise

    async def remove(self, name: str) -> None:
        """Raises EleAgentError when it is still there afterwards."""
        for delay in _GONE_DELAYS_S:
            try:
                async with self._engine.asked(f"remove {name}") as docker:
                    await docker.containers.container(name).delete(force=True, v=True)
            except NotFound:
                return
            except Conflict:
                pass  # its removal is under way
            try:
                await self._container(name)
            except NotFound:
                return
            await asyncio.sleep(delay)
        raise EleAgentError(
            f"the engine does not get rid of {name}: see its log, then `docker rm -f {name}`", name=name
        )

    async def images(self, reference: str) -> list[ImageFacts]:
        return await find_images(self._engine, reference)

    def build(
        self, reference: str, dockerfile: str, files: Mapping[str, int], labels: Mapping[str, str]
    ) -> AsyncIterator[str]:
        return build_image(self._engine, reference, dockerfile, files, labels)

    async def list(self, labels: Mapping[str, str]) -> tuple[list[Entry], bool]:
        wanted = {f"{LABEL}.installation": self._installation, **labels}
        filters = {"label": [f"{name}={value}" for name, value in wanted.items()]}
        try:
            async with self._engine.asked("list sandboxes") as docker:
                found = await docker.containers.list(all=True, filters=msgspec.json.encode(filters).decode())
                entries = [_entry(row["State"], row["Labels"] or {}, row["Created"]) for row in found]
        except EngineUnavailable:
            return [], False
        return entries, True

    async def close(self) -> None:
        await self._engine.close()

    async def _container(self, name: str) -> Container:
        async with self._engine.asked(f"inspect {name}") as docker:
            return msgspec.convert(await docker.containers.container(name).show(), Container)


_SHOWN = {
    "runtime": "Runtime",
    "readonly_rootfs": "ReadonlyRootfs",
    "network": "NetworkMode",
    "privileged": "Privileged",
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "init": "Init",
    "ipc": "IpcMode",
    "pid": "PidMode",
    "userns": "UsernsMode",
    "cgroupns": "CgroupnsMode",
    "memory_bytes": "Memory",
    "memory_swap_bytes": "MemorySwap",
    "nano_cpus": "NanoCpus",
    "pids": "PidsLimit",
    "devices": "Devices",
    "masked_paths": "MaskedPaths",
    "readonly_paths": "ReadonlyPaths",
}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _short(option: str) -> str:
    """A seccomp profile is thousands of characters: its digest stands for it."""
    name, equals, value = option.partition("=")
    return f"{name}{equals}sha256:{hashlib.sha256(value.encode()).hexdigest()}" if value.startswith("{") else option


def _podman_refuses(version: Version, err: EleAgentError) -> IsolationFailed:
    # It quotes the whole profile, whose text it takes for a file's name.
    said = err.message.replace(seccomp.load().oci, "the profile")
    return IsolationFailed(
        f"Podman {version.version} does not make the sandbox that was asked for ({said}): "
        "use Docker Engine or set runtime to bubblewrap"
    )


def _entry(state: str, labels: Mapping[str, str], made: float) -> Entry:
    attempt = labels.get(f"{LABEL}.attempt", "")
    return Entry(labels.get(f"{LABEL}.session", ""), int(attempt) if attempt.isdecimal() else 0, phase(state), made)


def _attach(sandbox: Sandbox, streams: str) -> str:
    # No detach keys: Ctrl-P Ctrl-Q among an agent's input would cut it off.
    return f"/containers/{sandbox.id}/attach?stream=1&detachKeys=&{streams}"
