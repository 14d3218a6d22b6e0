"""What is known of a sandbox that bubblewrap made, from its folder and of its processes?

One folder a sandbox: `made.json` is what was asked for, the rest is its holder's (holder.py). What runs is judged by
processes and their starts alone, never by files.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import NotFound
from eleagent_daemon.domain.sandbox import Phase, Placement, SandboxSpec, Status
from eleagent_daemon.kernel.calls import namespace_inode
from eleagent_daemon.runtime import processes
from eleagent_daemon.runtime.bubblewrap_start import HOLDER, INFO
from eleagent_daemon.runtime.groups import Groups

MADE: Final = "made.json"
INIT: Final = "init"
PAUSED: Final = "paused"


class Made(msgspec.Struct, frozen=True):
    spec: SandboxSpec
    placement: Placement
    made: float


class _Info(msgspec.Struct):
    """What bubblewrap writes to --info-fd."""

    pid: int = msgspec.field(name="child-pid")
    namespace: int = msgspec.field(name="pid-namespace", default=0)


@dataclass(frozen=True)
class Holder:
    """Who holds a sandbox's pipes; `stdin` is his descriptor of the write end, `child` is bubblewrap."""

    pid: int
    ticks: int
    stdin: int
    child: int
    child_ticks: int

    @property
    def alive(self) -> bool:
        return processes.is_alive(self.pid, self.ticks)


class State:
    """Of all sandboxes below `root`."""

    def __init__(self, *, root: Path, groups: Groups) -> None:
        self.root = root
        self._groups = groups

    def folder(self, name: str) -> Path:
        return self.root / name

    def made(self, name: str) -> Made:
        try:
            return msgspec.json.decode((self.folder(name) / MADE).read_bytes(), type=Made)
        except FileNotFoundError:
            raise NotFound(f"there is no sandbox {name}") from None

    def holder(self, name: str) -> Holder | None:
        try:
            return Holder(*map(int, (self.folder(name) / HOLDER).read_text().split()))
        except FileNotFoundError:
            return None

    def init(self, name: str) -> tuple[int, int, float]:
        """Pid, start in ticks and time of start of the init; zeros where there was none yet.

        Until a launcher has seen it at its gate and noted it, it is the one in the namespace that bubblewrap tells of.
        """
        with contextlib.suppress(FileNotFoundError):
            pid, ticks, began = (self.folder(name) / INIT).read_text().split()
            return int(pid), int(ticks), float(began)
        try:
            told = (self.folder(name) / INFO).read_bytes()
            info = msgspec.json.decode(told, type=_Info)
            if info.namespace in (0, namespace_inode(info.pid, "pid")):
                return info.pid, processes.start_ticks_or_none(info.pid), (self.folder(name) / INFO).stat().st_mtime
        except (OSError, msgspec.DecodeError):  # not there yet, written in part, or gone
            pass
        return 0, 0, 0.0

    def inspect(self, name: str) -> Status:
        folder = self.folder(name)
        if not folder.exists():
            return Status(Phase.GONE)
        holder = self.holder(name)
        if holder is None:
            return Status(Phase.CREATED)
        # Asked in this order: a holder writes down the end before it ends itself.
        pid, ticks, began = self.init(name)
        lives = processes.is_alive(pid, ticks)
        alive = holder.alive or lives or processes.is_alive(holder.child, holder.child_ticks)
        started = datetime.fromtimestamp(began, UTC).isoformat() if began else ""
        with contextlib.suppress(FileNotFoundError):
            code = int((folder / "exit").read_text())
            oom = code == 128 + signal.SIGKILL and self._groups.killed(name)
            return Status(Phase.EXITED, exit_code=code, oom=oom, started_at=started)
        if alive:
            phase = Phase.PAUSED if (folder / PAUSED).exists() else Phase.RUNNING
            return Status(phase, pid=pid if lives else 0, started_at=started)
        error = "the process that held its pipes is gone, and the sandbox with it: nobody knows how it ended"
        return Status(Phase.EXITED, started_at=started, error=error)

    def open_stdin(self, name: str) -> int:
        """The write end that the holder keeps, opened anew. Raises ConnectionResetError where nobody reads it."""
        holder = self.holder(name)
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
