"""How is one event of a timeline drawn? Pure: an event in, rows of a width out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from eleagent.cli.amounts import human_size
from eleagent.cli.cards import Line, lines, telling
from eleagent.cli.observedcards import HOME
from eleagent.cli.observedcards import lines as observed_lines
from eleagent.cli.report import tokens
from eleagent.cli.screen import Style
from eleagent.cli.views import payload_of
from eleagent.wire import events as ev
from eleagent.wire.observations import FilesChanged, ProgramExecuted
from eleagent.wire.timeline import Event
from eleagent_tui import markdown
from eleagent_tui.rows import Row, Span, fit, indented, shown, shown_line, width_of, wrap, wrap_spans

FOLDED_ROWS: Final = 12
FOLDED_MESSAGE_ROWS: Final = 60
OPEN_ROWS: Final = 2000
"""An opened event shows so many rows; the pager has the rest."""

_ROLES: Final = {
    Style.PLAIN: "", Style.BOLD: "bold", Style.DIM: "dim", Style.GOOD: "good", Style.WARN: "warn", Style.BAD: "bad",
    Style.NAME: "name",
}  # fmt: skip
_READ: Final = frozenset({ev.AgentMessage.type, ev.InputAccepted.type})
"""What a person reads is folded later than what a tool says."""

_SILENT: Final = (ev.SessionStarting, ev.SessionStarted, ev.DoorsOpened, ev.InputDelivered, ev.SandboxExited)


class Called(NamedTuple):
    """The call that a result belongs to."""

    name: str
    ts: str


def rows(event: Event, width: int, *, opened: bool = False, called: Called | None = None) -> list[Row]:
    """The event's rows, folded unless `opened`. Every event has at least one, so that none is passed over."""
    folded = FOLDED_MESSAGE_ROWS if event.type in _READ else FOLDED_ROWS
    most = OPEN_ROWS if opened else folded
    laid = list(_rows(event, width, called, most, opened=opened))
    if len(laid) > most:
        hidden = len(laid) - most + 1
        how = "v opens all in the pager" if opened else "enter opens"
        laid = [*laid[: most - 1], (("dim", f"  … {hidden:,} more rows ({how})"),)]
    return laid or [(("dim", fit(f"· {shown_line(event.type)}", width)),)]


def role_of(style: Style) -> str:
    """The role that is drawn as the command line draws this style."""
    return _ROLES[style]


def text_of(event: Event) -> str:
    """All that the event says, to copy or to page."""
    match payload_of(event):
        case ev.AgentMessage(text) | ev.AgentThinking(text) | ev.InputAccepted(text=text) | ev.OutputText(text=text):
            return text
        case ev.AgentToolResult(text=text):
            return text
        case ev.AgentToolCall(input=text) | ev.ApprovalRequested(input=text):
            what = telling(text)
            return what or text
        case _:
            return msgspec.json.format(msgspec.json.encode(event.data)).decode()


def _rows(event: Event, width: int, called: Called | None, most: int, *, opened: bool) -> Iterator[Row]:
    payload = payload_of(event)
    # No more than is shown is laid out: a line of a megabyte costs what its first rows cost.
    budget = most * width * 2
    match payload:
        case ev.AgentMessage(text, parent):
            yield from indented(markdown.rows(text, width - 2), ("name", "│ " if parent else "▪ "), "  ")
        case ev.AgentThinking(text):
            yield from indented(_cut(text.strip(), width - 2, "think", budget), ("think", "~ "), "  ")
        case ev.InputAccepted(by_user=who, text=text):
            yield (("bold", fit(f"> {shown_line(who)}", width)),)
            yield from indented(_cut(text.rstrip(), width - 2, "bold", budget), ("", "  "), "  ")
        case ev.AgentToolCall():
            yield from _call(payload, width, budget)
        case ev.AgentToolResult():
            yield from _result(event, payload, width, called, budget)
        case ev.OutputText(stream, text):
            role = "bad" if stream == "err" else ""
            yield from _cut(text.removesuffix("\n"), width, role, budget, words=False)
        case ev.ApprovalRequested(tool=tool, input=text):
            yield (("warn", fit(f"? asks to use {shown_line(tool)} (2 shows what waits for you)", width)),)
            yield from indented(_cut(text, width - 2, "", budget, words=False), ("", "  "), "  ")
        case ev.ArtefactStored(path, size_bytes):
            yield (("good", "↓ "), ("", fit(f"{shown_line(path)}  {human_size(size_bytes)}", width - 2)))
        case ev.SessionEnded():
            yield from _end(payload, width)
        case None:
            yield (("dim", fit(f"{shown_line(event.type)} (this client is too old to show it)", width)),)
        case ev.EgressModel(allowed=True):
            used = f" · {used}" if (used := tokens(payload.usage)) else ""
            what = f"model: {payload.method} {payload.path} {payload.status}{used}"
            yield (("dim", fit(f"· {shown_line(what)}", width)),)
        case ev.AgentTurnFinished(is_error=False, confirmed=True, turns=turns):
            yield (("dim", fit(f"· the turn is over ({turns} turns of the model)", width)),)
        case payload if isinstance(payload, _SILENT):
            yield (("dim", fit(f"· {payload.type}", width)),)
        case ProgramExecuted() | FilesChanged() if not opened:
            yield from _glimpse(payload, width)
        case _:
            for line in (*lines(payload), *observed_lines(payload, verbose=True)):
                yield from indented(wrap_spans(_spans(line), width - 2), ("dim", "· "), "  ")


def _spans(line: Line) -> list[Span]:
    return [(role_of(style), shown_line(text)) for style, text in line.spans]


def _glimpse(payload: ProgramExecuted | FilesChanged, width: int) -> Iterator[Row]:
    """A row for each that a person may look for: what an agent keeps for itself, and long arguments, are for who opens
    it.
    """
    kept = 0
    if isinstance(payload, FilesChanged):
        looked = [one for one in payload.changes if not one.path.startswith(HOME)]
        kept = len(payload.changes) - len(looked) + len(payload.passed) + payload.passed_more
        payload = msgspec.structs.replace(payload, changes=looked, passed=[], passed_more=0)
    for line in observed_lines(payload, verbose=True):
        text = "".join(text for _, text in _spans(line))
        whole = width_of(_spans(line)) <= width - 2
        yield (("dim", "· "), *(_spans(line) if whole else [("dim", fit(text, width - 2))]))
    if kept:
        yield (("dim", fit(f"· {kept} in HOME or gone again (enter opens)", width)),)


def _cut(text: str, width: int, role: str, budget: int, *, words: bool = True) -> Iterator[Row]:
    """Wrapped; of what is far more than is shown only its number of lines is kept."""
    kept = text[:budget]
    yield from wrap(shown(kept), width, role, words=words)
    for _ in range(text.count("\n", budget) + (len(text) - len(kept)) // max(1, width * 4)):
        yield ()


def _call(call: ev.AgentToolCall, width: int, budget: int) -> Iterator[Row]:
    lead = "  " if call.parent else ""
    name = shown_line(call.name)
    changes = list(_changes(call.input))
    if changes:
        path = changes[0][0]
        yield (
            ("name", fit(f"{lead}● {name}", width)),
            ("", "  " + fit(shown_line(path), max(1, width - len(name) - 6))),
        )
        for _, before, after in changes:
            yield from _diff(before, after, width - 4)
        return
    what = shown(telling(call.input)[:budget])
    head = f"{lead}● {name}  "
    first = True
    for one in wrap(what, max(8, width - len(head)), "", words=False):
        yield (("name", head) if first else ("", " " * len(head)), *one)
        first = False
    if call.truncated:
        yield (("dim", "  … the input was longer"),)


class _Edit(msgspec.Struct):
    """The member names of tools that change a file."""

    file_path: str
    old_string: str = ""
    new_string: str = ""
    content: str | None = None
    edits: list[dict[str, object]] = []


def _changes(tool_input: str) -> Iterator[tuple[str, str, str]]:
    """(path, before, after) of what a tool call changes in a file; none for another tool."""
    try:
        edit = msgspec.json.decode(tool_input, type=_Edit)
    except msgspec.DecodeError:
        return
    if edit.content is not None:
        yield edit.file_path, "", edit.content
    elif edit.old_string or edit.new_string:
        yield edit.file_path, edit.old_string, edit.new_string
    for one in edit.edits:
        yield edit.file_path, str(one.get("old_string", "")), str(one.get("new_string", ""))


def _diff(before: str, after: str, width: int) -> Iterator[Row]:
    from difflib import SequenceMatcher

    old, new = before.split("\n") if before else [], after.split("\n") if after else []
    if len(old) + len(new) > OPEN_ROWS:
        old, new = old[:OPEN_ROWS], new[:OPEN_ROWS]
    for kind, a, b, c, d in (
        SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if old else [("insert", 0, 0, 0, len(new))]
    ):
        if kind == "equal":
            yield from _side(old[a:b], " ", "dim", width)
        else:
            yield from _side(old[a:b], "-", "remove", width)
            yield from _side(new[c:d], "+", "add", width)


def _side(texts: Iterable[str], mark: str, role: str, width: int) -> Iterator[Row]:
    for text in texts:
        yield ((role, f"  {mark} {fit(shown(text), width)}"),)


def _result(event: Event, result: ev.AgentToolResult, width: int, called: Called | None, budget: int) -> Iterator[Row]:
    lead = "    " if result.parent else "  "
    took = _seconds(called.ts, event.ts) if called is not None else ""
    role = "bad" if result.is_error else "dim"
    text = result.text.strip("\n") or "(no output)"
    diff = text.startswith(("diff ", "--- ", "@@ "))
    for count, one in enumerate(_cut(text, width - len(lead) - 2, role, budget, words=False)):
        if diff and one:
            one = ((_diff_role(one[0][1], role), one[0][1]),)
        mark = ("✗ " if result.is_error else "└ ") if count == 0 else "  "
        if count == 0 and width_of(one) + len(took) + len(lead) + 4 <= width:
            one, took = (*one, ("dim", f"  {took}")), ""
        yield ((role, lead + mark), *one)
    said = [took, "cut: the result was longer" if result.truncated else ""]
    if any(said):
        yield (("dim", fit(lead + "  " + " · ".join(filter(None, said)), width)),)


def _diff_role(text: str, otherwise: str) -> str:
    return {"+": "add", "-": "remove", "@": "name"}.get(text[:1], otherwise)


def _end(end: ev.SessionEnded, width: int) -> Iterator[Row]:
    role = "good" if end.state == "succeeded" else "bad"
    reason = f" ({end.reason})" if end.reason != end.state else ""
    detail = f" · {end.detail}" if end.detail else ""
    yield (("dim", "─" * width),)
    yield from wrap_spans([(role, str(end.state)), ("", shown_line(f"{reason} · exit {end.exit_code}{detail}"))], width)
    facts = [tokens(end.usage), f"{end.artefacts} artefacts" if end.artefacts else ""]
    if any(facts):
        yield (("dim", fit(" · ".join(filter(None, facts)), width)),)


def _seconds(begin: str, end: str) -> str:
    took = (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    return f"{took:.1f} s" if took < 120 else f"{took / 60:.0f} min"


def clock(ts: str) -> str:
    """The event's time of day here."""
    return datetime.fromisoformat(ts).astimezone().strftime("%H:%M:%S")
