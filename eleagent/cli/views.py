"""In which form is a timeline shown: to a person, as JSON lines, or as nothing but the answer?"""

from __future__ import annotations

from typing import Protocol

import msgspec

from eleagent.cli.cards import Line, brief, lines
from eleagent.cli.invocation import Invocation
from eleagent.cli.observedcards import lines as observed_lines
from eleagent.cli.screen import Screen, To
from eleagent.wire import events as ev
from eleagent.wire.inside import AgentAsked
from eleagent.wire.timeline import Event, Notice


class View(Protocol):
    def show(self, item: Event | Notice) -> None:
        """Print what this item says to such a reader."""

    def finish(self) -> None:
        """Nothing more comes."""


def choose_view(invocation: Invocation, *, key: str, asked: bool = False, verbose: bool = False) -> View:
    """`asked`: this terminal is going to put the session's questions itself. `verbose`: the programs too."""
    if invocation.json:
        return JsonView(invocation)
    if invocation.quiet:
        return QuietView(invocation.screen)
    return HumanView(invocation.screen, key=key, asked=asked, verbose=verbose)


def payload_of(event: Event) -> ev.Payload | None:
    """The typed payload, None where a newer daemon says something that this client does not know."""
    try:
        return event.payload()
    except (KeyError, msgspec.ValidationError):
        return None


class JsonView:
    """Each event as one line of JSON."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def show(self, item: Event | Notice) -> None:
        if isinstance(item, Event):
            self._invocation.emit(item)

    def finish(self) -> None:
        pass


class QuietView:
    """A program's own stdout and stderr, or an agent's last answer."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._answer = ""

    def show(self, item: Event | Notice) -> None:
        match payload_of(item) if isinstance(item, Event) else None:
            case ev.OutputText(stream, text):
                self._screen.text(text, To.ERR if stream == "err" else To.OUT)
            case ev.AgentTurnFinished(text=text) | ev.AgentMessage(text=text, parent=None) if text:
                self._answer = text

    def finish(self) -> None:
        if self._answer:
            self._screen.text(self._answer.rstrip("\n") + "\n")


class HumanView:
    """Cards and text, live; beside a spinner on a terminal what the agent is about."""

    def __init__(self, screen: Screen, *, key: str, asked: bool, verbose: bool = False) -> None:
        self._screen = screen
        self._key = key
        self._asked = asked
        self._verbose = verbose
        self._draft = ""

    def show(self, item: Event | Notice) -> None:
        if isinstance(item, Notice):
            self._preview(item)
            return
        payload = payload_of(item)
        if payload is None:
            self._screen.note(f"{item.type} (this client is too old to show it)")
            return
        if isinstance(payload, ev.OutputText):
            self._screen.status(None)
            self._screen.text(payload.text, To.ERR if payload.stream == "err" else To.OUT)
            return
        if not (self._asked and isinstance(payload, ev.ApprovalRequested | ev.WallAsked | AgentAsked)):
            for line in (*lines(payload), *observed_lines(payload, verbose=self._verbose)):
                self._print(line)
        self._wait_for(payload)

    def finish(self) -> None:
        self._screen.status(None)

    def _print(self, line: Line) -> None:
        self._screen.line(*line.spans, to=line.to, cut=line.cut)

    def _preview(self, notice: Notice) -> None:
        if notice.notice == "preview":
            self._draft = (self._draft + notice.text)[-(self._screen.columns - 8) :]
            self._screen.status("✎ " + self._draft.replace("\n", " "))
        elif notice.notice == "behind":
            self._screen.note(f"{notice.behind} events behind, reading on from disk")

    def _wait_for(self, payload: ev.Payload) -> None:
        match payload:
            case ev.SessionCreated() | ev.SessionQueued() | ev.SessionStarting():
                self._screen.status(f"starting {self._key}")
            case ev.SessionStarted() | ev.AgentReady() | ev.AgentToolResult() | ev.InputAccepted():
                self._screen.status("the agent works")
            case ev.AgentThinking():
                self._screen.status("thinking: " + brief(payload.text))
            case ev.AgentMessage() | ev.AgentTurnFinished():
                self._draft = ""
                self._screen.status("the agent works")
            case ev.AgentToolCall():
                self._screen.status(f"{payload.name} runs")
            case ev.SessionEnded():
                self._screen.status(None)
            case _:
                pass
