"""What does the host see for itself of what goes on inside a sandbox?"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from eleagent.wire.payload import Payload


class Observer(StrEnum):
    """What watches the programs. AUDIT: the kernel's audit, with the arguments it was given. EVENTS: the kernel's
    process events, whose arguments are read afterwards. NOTHING: neither can be had.
    """

    AUDIT = "audit"
    EVENTS = "events"
    NOTHING = "nothing"


class Arguments(StrEnum):
    """KERNEL: as the kernel was given them. LATE: read from the process, which may have rewritten them. UNKNOWN: it
    was gone before, or the kernel's record of them was lost.
    """

    KERNEL = "kernel"
    LATE = "late"
    UNKNOWN = "unknown"


class ObservationStarted(Payload, frozen=True):
    """From here on the sandbox is watched. `why` says what is missing where `programs` is not `audit`; `passing`: files
    that come and go between two looks are seen, too.
    """

    type: ClassVar[str] = "observation.started"
    programs: Observer
    why: str = ""
    passing: bool = False


class ObservationGap(Payload, frozen=True):
    """Nobody watched `what` between two times (RFC 3339). `missed`: how many were not recorded; None: nobody knows."""

    type: ClassVar[str] = "observation.gap"
    begin: str
    end: str
    what: str
    missed: int | None = None


class ProgramExecuted(Payload, frozen=True):
    """A program that began in the sandbox; `at` is the kernel's time, pids are the host's.

    Bytes that are no UTF-8 are written out (`\\xff`). Arguments past a limit are cut: `argv_bytes` and `argv_sha256`
    are then of the whole, each argument with the NUL behind it. Past a burst one event stands for `count` executions
    of one program, the last of them; an `exe` of `…` is any of the programs that were too many to be told apart.
    """

    type: ClassVar[str] = "program.executed"
    at: str
    pid: int
    ppid: int
    exe: str
    argv: list[str]
    cwd: str = ""
    arguments: Arguments = Arguments.KERNEL
    argv_bytes: int = 0
    argv_sha256: str = ""
    count: int = 1


class Change(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    RENAMED = "renamed"


class FileChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file of the writable places, by its path in the sandbox. `kind` is `file`, `link` or `other` (a FIFO, a
    socket); `sha256` is of a file's content or a link's target, empty where it could not be read. `before_*` are of
    what it was; a renamed one was at `before_path` (same inode, same content).
    """

    path: str
    change: Change
    kind: str = "file"
    size_bytes: int = 0
    sha256: str = ""
    mode: int = 0
    before_size_bytes: int = 0
    before_sha256: str = ""
    before_path: str = ""


class FilesChanged(Payload, frozen=True):
    """What differs in the writable places from the last look; a large difference takes several events. `final`: the
    sandbox had ended. `unread`: paths that could not be looked at, and why. `passed`: files that came and went since
    the last look; `passed_more` is how many more did that are not named, at least.
    """

    type: ClassVar[str] = "files.changed"
    changes: list[FileChange]
    final: bool = False
    unread: list[str] = []
    passed: list[str] = []
    passed_more: int = 0


class Unreported(msgspec.Struct, frozen=True):
    """Executions of one program that no report of the agent covers; `argv` is that of one of them, shortened."""

    exe: str
    count: int
    argv: list[str]


class ClaimsCompared(Payload, frozen=True):
    """The agent's reports of commands against the programs that the host saw, at the end of a turn and of the session.

    Of `reported` commands `seen` were found among the executions; `unseen` are the ids of tool calls that were not.
    `covered` programs ran for a reported command, `unreported` ones by the agent's own doing, and of `unplaced` ones
    nobody can tell whose child they were. `incomplete`: not every execution was seen, so that what is missing here may
    have happened; nothing is called unseen then.
    """

    type: ClassVar[str] = "claims.compared"
    reported: int
    seen: int
    unseen: list[str]
    covered: int
    unreported: list[Unreported]
    unplaced: int = 0
    incomplete: bool = False
    final: bool = False


OBSERVATIONS: dict[str, type[Payload]] = {
    cls.type: cls for cls in (ObservationStarted, ObservationGap, ProgramExecuted, FilesChanged)
}
"""What a launcher may tell a daemon of a sandbox."""
