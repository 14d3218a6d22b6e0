"""What did the host see of a session, in short: programs, files, what nobody watched, and what does not match?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from eleagent.cli.cards import some
from eleagent.cli.observedcards import HOME
from eleagent.cli.screen import Screen, Span, Style
from eleagent.cli.views import payload_of
from eleagent.wire.observations import (
    Arguments,
    Change,
    ClaimsCompared,
    FileChange,
    FilesChanged,
    ObservationGap,
    ObservationStarted,
    Observer,
    ProgramExecuted,
)
from eleagent.wire.timeline import Event

_SHOWN: Final = 5
_TYPES: Final = ("observation.", "program.", "files.", "claims.")


class Files:
    """The net changes of a session's files, from the looks at them in order: of each path its first state, its last,
    and where what lies there came from (empty: it was made).
    """

    def __init__(self) -> None:
        self._first: dict[str, FileChange | None] = {}  # holds a state in before_*; None: it was not there
        self._last: dict[str, FileChange | None] = {}
        self._origin: dict[str, str] = {}

    def add(self, changes: Iterable[FileChange]) -> None:
        for change in changes:
            if change.before_path:
                self._first.setdefault(change.before_path, change)
                self._last[change.before_path] = None
                self._first.setdefault(change.path, None)
                self._origin[change.path] = self._origin.pop(change.before_path, change.before_path)
            else:
                new = change.change is Change.CREATED
                self._first.setdefault(change.path, None if new else change)
                if new or change.change is Change.DELETED:
                    self._origin[change.path] = ""
            self._last[change.path] = None if change.change is Change.DELETED else change

    def net(self) -> list[FileChange]:
        """By path; what came and went is not among them."""
        moved = {
            path: origin
            for path, origin in self._origin.items()
            if origin
            and self._first[path] is None
            and self._first.get(origin) is not None
            and self._last.get(origin) is None
        }
        gone = set(moved.values())
        net = [self._net(path, moved.get(path)) for path in sorted(self._last) if path not in gone]
        return [one for one in net if one is not None]

    def _net(self, path: str, origin: str | None) -> FileChange | None:
        first, last = self._first[origin or path], self._last[path]
        if last is None:
            return first and msgspec.structs.replace(
                first, path=path, change=Change.DELETED, before_path="", size_bytes=0, sha256=""
            )
        if first is None:
            return msgspec.structs.replace(
                last, change=Change.CREATED, before_path="", before_size_bytes=0, before_sha256=""
            )
        if origin is None and last.sha256 == first.before_sha256 != last.before_sha256:
            return None  # it is again what it was
        return msgspec.structs.replace(
            last, change=Change.RENAMED if origin else Change.CHANGED, before_path=origin or "",
            before_size_bytes=first.before_size_bytes, before_sha256=first.before_sha256,
        )  # fmt: skip


class Observed(msgspec.Struct):
    """Counted from a timeline. `programs` are executions by program; `files` net changes outside of HOME, `home_files`
    those in it, `passed` those that came and went.
    """

    observer: str = ""
    why: str = ""
    executions: int = 0
    without_arguments: int = 0
    programs: dict[str, int] = {}
    files: list[FileChange] = []
    home_files: int = 0
    passed: int = 0
    unread: list[str] = []
    gaps: list[ObservationGap] = []
    reported: int = 0
    unseen: list[str] = []
    unreported: dict[str, int] = {}
    unplaced: int = 0


class Watcher:
    """Counts what a timeline's events tell."""

    def __init__(self) -> None:
        self._observed = Observed()
        self._files = Files()

    def observed(self) -> Observed:
        net = self._files.net()
        self._observed.files = [one for one in net if not one.path.startswith(HOME)]
        self._observed.home_files = len(net) - len(self._observed.files)
        return self._observed

    def take(self, event: Event) -> None:
        observed = self._observed
        match payload_of(event) if event.type.startswith(_TYPES) else None:
            case ObservationStarted(programs, why):
                observed.observer, observed.why = programs, why
            case ObservationGap() as gap:
                observed.gaps.append(gap)
            case ProgramExecuted() as run:
                observed.executions += run.count
                observed.without_arguments += run.count if run.arguments is not Arguments.KERNEL else 0
                observed.programs[run.exe] = observed.programs.get(run.exe, 0) + run.count
            case FilesChanged() as look:
                self._files.add(look.changes)
                observed.unread += look.unread
                observed.passed += len(look.passed) + look.passed_more
            case ClaimsCompared() as compared:
                observed.reported += compared.seen + len(compared.unseen)
                observed.unseen += compared.unseen
                observed.unplaced += compared.unplaced
                for one in compared.unreported:
                    observed.unreported[one.exe] = observed.unreported.get(one.exe, 0) + one.count


def show_observed(screen: Screen, observed: Observed, key: str) -> None:
    """The section of `session show`."""
    for name, spans in _sections(observed, key):
        screen.line((Style.DIM, f"{name:<12}"), *spans)


def _sections(observed: Observed, key: str) -> Iterator[tuple[str, tuple[Span | str, ...]]]:
    if observed.observer:
        yield "programs", _programs(observed)
    if observed.files or observed.home_files:
        passed = f" · {observed.passed} came and went" if observed.passed else ""
        home = f" · {observed.home_files} in HOME"
        yield "files", (f"{_tally(observed.files)}{home}{passed}   (eleagent diff {key})",)
    for path in observed.unread[:_SHOWN]:
        yield "", ((Style.WARN, "not read "), path)
    if observed.reported:
        seen = observed.reported - len(observed.unseen)
        yield "reports", (f"{seen} of {observed.reported} reported commands seen{_beside(observed)}",)
    for call in observed.unseen:
        yield "", ((Style.BAD, "reported, never executed "), call)
    for gap in observed.gaps:
        missed = "" if gap.missed is None else f" · {gap.missed} missed"
        yield "", ((Style.WARN, "unwatched "), f"{gap.begin} to {gap.end}: {gap.what}{missed}")


def _programs(observed: Observed) -> tuple[Span | str, ...]:
    if observed.observer == Observer.NOTHING:
        return ((Style.WARN, "not watched: "), observed.why)
    often = sorted(observed.programs, key=lambda exe: -observed.programs[exe])
    names = some([f"{exe.rpartition('/')[2]} x {observed.programs[exe]}" for exe in often], _SHOWN)
    source = "" if observed.observer == Observer.AUDIT else f" · seen by the kernel's {observed.observer}"
    unsure = f" · {observed.without_arguments} without the kernel's arguments" if observed.without_arguments else ""
    return (f"{observed.executions} executed: {names or 'none'}{source}{unsure}",)


def _beside(observed: Observed) -> str:
    own = sum(observed.unreported.values())
    names = some(sorted({exe.rpartition("/")[2] for exe in observed.unreported}), _SHOWN)
    beside = f" · {own} programs unreported ({names})" if own else ""
    return beside + (f" · {observed.unplaced} of unknown parents" if observed.unplaced else "")


def _tally(files: list[FileChange]) -> str:
    counts = {change: sum(one.change is change for one in files) for change in Change}
    return ", ".join(f"{count} {change}" for change, count in counts.items() if count) or "none changed"
