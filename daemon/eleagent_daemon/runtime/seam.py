"""What must a backend that makes sandboxes be able to do?

The rules that measurements forced: a handle's name is stored before `create`; output is a replayable log, input a
separate channel with one writer; the exit comes from inspection; LOST is a state of its own; absence is judged on a
complete listing alone; nothing is silently weakened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from eleagent_daemon.domain.launch import Entry, HostFact, ImageFacts
from eleagent_daemon.domain.sandbox import Placement, SandboxSpec, Status

Stream = Literal["out", "err"]


@dataclass(frozen=True)
class Chunk:
    """A piece of output. `gap`: bytes before it are missing, `gap_bytes` of them where that can be known."""

    stream: Stream
    data: bytes
    gap: bool = False
    gap_bytes: int | None = None


@dataclass(frozen=True)
class Cursor:
    """How many bytes of each stream were already taken; output goes on after them, whoever took them."""

    out: int = 0
    err: int = 0


@dataclass(frozen=True)
class Sandbox:
    """A sandbox that was made; `id` is the backend's own."""

    name: str
    id: str


@dataclass(frozen=True)
class View:
    """`pids`: the host's numbers of every process in it, the init first. `applied`: what the backend says that it
    applied, name → text, for the report.
    """

    status: Status
    pids: list[int]
    applied: dict[str, str]


class InputChannel(Protocol):
    """The one writer of a sandbox's stdin."""

    async def write(self, data: bytes) -> None:
        """Returns when the backend took all of it. Raises ConnectionError when the sandbox is gone."""

    async def close(self) -> None: ...


class Runtime(Protocol):
    """Errors are EleAgentErrors: the backend's own are translated at its edge. `needs_root`: of the launcher."""

    name: str
    needs_root: bool

    async def describe(self) -> str:
        """One line: which engine, which version. Raises EngineUnavailable with what to do."""

    async def facts(self) -> list[HostFact]:
        """What this backend can enforce here; every line with a fix where there is one."""

    async def create(self, spec: SandboxSpec, placement: Placement) -> Sandbox:
        """Make it, not running. Idempotent by `spec.name`. Raises ImageMissing, EngineUnavailable, IsolationFailed."""

    async def attach(self, sandbox: Sandbox) -> tuple[AsyncIterator[Chunk], InputChannel]:
        """Output from the first byte and the input channel; called before `start`, so that nothing can be missed."""

    async def replay(self, sandbox: Sandbox, cursor: Cursor) -> tuple[AsyncIterator[Chunk], InputChannel]:
        """Output after `cursor`, and the input channel anew, for a launcher that came back."""

    async def start(self, sandbox: Sandbox) -> None:
        """Run the gate. Idempotent."""

    async def inspect(self, name: str) -> Status: ...

    async def wait(self, sandbox: Sandbox) -> Status:
        """Returns when it no longer runs, from inspection."""

    async def view(self, sandbox: Sandbox) -> View:
        """All that the backend tells about it, from one look."""

    async def signal(self, sandbox: Sandbox, signum: int) -> None: ...

    async def kill(self, sandbox: Sandbox) -> None: ...

    async def pause(self, sandbox: Sandbox) -> None:
        """Stop the clock of every process in it, those that it forks meanwhile too; returns when none runs. Idempotent.

        Signals wait until it goes on, but SIGKILL ends it as it is. Raises Conflict for what does not run, NotFound.
        """

    async def unpause(self, sandbox: Sandbox) -> None:
        """Let it go on. Idempotent. Raises NotFound; nothing happens to what has ended."""

    async def remove(self, name: str) -> None:
        """Idempotent; verifies that it is really gone."""

    async def images(self, reference: str) -> list[ImageFacts]: ...

    def build(
        self, reference: str, dockerfile: str, files: Mapping[str, int], labels: Mapping[str, str]
    ) -> AsyncIterator[str]:
        """Build an image from file descriptors; yields lines of progress. Raises EleAgentError when it fails."""

    async def list(self, labels: Mapping[str, str]) -> tuple[list[Entry], bool]:
        """All sandboxes with these labels, and whether the listing is complete."""

    async def close(self) -> None: ...
