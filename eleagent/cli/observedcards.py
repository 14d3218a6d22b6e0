"""How does one observation of the host read to a person? Pure: an event's payload in, lines out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from eleagent.cli.amounts import human_size
from eleagent.cli.cards import Line
from eleagent.cli.screen import Span, Style, To
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
from eleagent.wire.payload import Payload

HOME: Final = "/home/agent/"
"""What an agent keeps for itself lies there: shown where it is asked for."""

SIGNS: Final = {Change.CREATED: "A", Change.CHANGED: "M", Change.RENAMED: "R", Change.DELETED: "D"}
STYLES: Final = {
    Change.CREATED: Style.GOOD, Change.CHANGED: Style.WARN, Change.RENAMED: Style.NAME, Change.DELETED: Style.BAD,
}  # fmt: skip
_GLIMPSE: Final = 5


def lines(payload: Payload, *, verbose: bool) -> Iterator[Line]:
    """What a timeline shows of it: programs and files in HOME only where it is `verbose`."""
    match payload:
        case ObservationGap():
            missed = "" if payload.missed is None else f", {payload.missed} missed"
            yield _line(Style.WARN, f"nobody watched {payload.what} from {payload.begin} to {payload.end}{missed}")
        case ObservationStarted() if payload.programs is not Observer.AUDIT:
            how = (
                "not watched"
                if payload.programs is Observer.NOTHING
                else "watched by the kernel's process events alone"
            )
            yield _line(Style.WARN, f"programs are {how}: {payload.why}")
        case ProgramExecuted() if verbose:
            times = f"  x {payload.count}" if payload.count > 1 else ""
            unsure = "" if payload.arguments is Arguments.KERNEL else f"  (arguments {payload.arguments})"
            yield _line(Style.DIM, f"  $ {shlex.join(payload.argv) or payload.exe}{times}{unsure}")
        case FilesChanged() if verbose:
            for change in payload.changes:
                spans = [(style, f"  {text}") for style, text in row(change) if text]
                yield Line(To.ERR, tuple(spans), cut=True)
            for path in payload.passed:
                yield _line(Style.DIM, f"  came and went: {path}")
            if payload.passed_more:
                yield _line(Style.DIM, f"  came and went: {payload.passed_more} more")
            yield from _unread(payload)
        case FilesChanged():
            if shown := [one for one in payload.changes if not one.path.startswith(HOME)]:
                some = ", ".join(f"{SIGNS[one.change]} {one.path}" for one in shown[:_GLIMPSE])
                more = f" and {len(shown) - _GLIMPSE} more" if len(shown) > _GLIMPSE else ""
                yield _line(Style.DIM, f"files: {some}{more}")
            yield from _unread(payload)
        case ClaimsCompared():
            for call in payload.unseen:
                yield _line(Style.BAD, f"the agent reported a command that was never executed: {call}")
            if verbose and not payload.final:
                own = sum(one.count for one in payload.unreported)
                text = f"{payload.seen} of {payload.reported} reported commands seen, {own} programs unreported"
                yield _line(Style.DIM, text)
        case _:
            pass


def row(one: FileChange) -> list[Span]:
    """Sign, path, sizes, and what it is where it is no file."""
    path = f"{one.before_path} → {one.path}" if one.before_path else one.path
    size = human_size(one.before_size_bytes if one.change is Change.DELETED else one.size_bytes)
    if one.change is Change.CHANGED and one.before_size_bytes != one.size_bytes:
        size = f"{human_size(one.before_size_bytes)} → {size}"
    kind = "" if one.kind == "file" else one.kind
    return [(STYLES[one.change], SIGNS[one.change]), (Style.PLAIN, path), (Style.DIM, size), (Style.DIM, kind)]


def _unread(look: FilesChanged) -> Iterator[Line]:
    for path in look.unread:
        yield _line(Style.WARN, f"a file could not be looked at: {path}")


def _line(style: Style, text: str) -> Line:
    return Line(To.ERR, ((style, text),), cut=True)
