"""What should a new agent do, with which data?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input

from eleagent.cli.limits import read_size
from eleagent.cli.prompt import check_prompt, read_duration, read_source
from eleagent.errors import BadRequest, EleAgentError
from eleagent.operations.agents import AGENT_LIST
from eleagent.operations.sessions import SESSION_CREATE
from eleagent.wire.agents import AgentList
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Session, SessionCreate
from eleagent_tui import terminal
from eleagent_tui.asking import Label
from eleagent_tui.field import Field
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, pad, shown_line, wrap


class Asked(NamedTuple):
    label: str
    hint: str
    value: str = ""


FIELDS: Final = {
    "agent": Asked("Agent", "which one: see below", "claude"),
    "prompt": Asked("Prompt", "what it should do; ctrl+g writes it in $EDITOR"),
    "data": Asked("Data", "folders and files it may read, with commas between"),
    "name": Asked("Name", "to call it by; one is made where none is given"),
    "model": Asked("Model", "as the daemon is set up"),
    "policy": Asked("Policy", "as the daemon is set up"),
    "project": Asked("Project", "whose members may see it; default where none is given"),
    "cost": Asked("Cost", "the most it may cost, in USD; as the daemon is set up"),
    "tokens": Asked("Tokens", "the most it may use, cached ones too"),
    "turns": Asked("Turns", "the most requests to the model"),
    "egress": Asked("Egress", "the most that may leave the sandbox: 100m, 2g"),
    "memory": Asked("Memory", "512m, 2g"),
    "disk": Asked("Disk", "workspace, artefacts and HOME together: 4g"),
    "idle": Asked("Idle", "how long it may make no progress: 30s, 10m"),
    "timeout": Asked("Time", "90, 30s, 10m or 2h; as the daemon is set up"),
}


class FormField(Field):
    """One line of the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "line(1)", show=False),
        Binding("up", "line(-1)", show=False),
        Binding("ctrl+s", "start", "start it", show=False),
        Binding("ctrl+g", "editor", "write the prompt in $EDITOR", show=False),
        Binding("escape", "leave", "leave without starting", show=False),
    ]

    def action_line(self, way: int) -> None:
        (self.screen.focus_previous if way < 0 else self.screen.focus_next)(FormField)

    async def action_submit(self) -> None:
        """Enter: the next line; behind the last one it starts."""
        if self.id != list(FIELDS)[-1]:
            self.action_line(1)
        else:
            self.form.start()

    def paste(self, text: str) -> None:
        """A prompt keeps its lines."""
        if self.id == "prompt" and len(text.strip().splitlines()) > 1:
            self.form.lengthen(text)
        else:
            super().paste(text)

    @property
    def form(self) -> NewSession:
        assert isinstance(self.screen, NewSession)  # noqa: S101  # nobody else has one
        return self.screen

    def action_start(self) -> None:
        self.form.start()

    def action_editor(self) -> None:
        self.form.edit()

    async def action_leave(self) -> None:
        self.form.tui.set_focus(None)
        await self.form.tui.action_back()


class NewSession(Place):
    """Fill in what it needs; Enter goes on to the next line, ctrl+s starts it, esc leaves."""

    NAME = "sessions"
    TITLE = "New session"
    PASSING = True
    AUTO_FOCUS = "#prompt"
    DEFAULT_CSS = """
    NewSession > Horizontal { height: 1; }
    NewSession > Horizontal > Label { width: 9; }
    NewSession > Horizontal > Field { width: 1fr; }
    NewSession > Reader { margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self) -> None:
        super().__init__()
        self._long: str | None = None
        self._starting = False
        self._notes: list[tuple[str, str]] = [("dim", "asking which agents there are …")]

    def body(self) -> ComposeResult:
        for name, asked in FIELDS.items():
            label = Label()
            label.painted = [(("name", pad(asked.label, 9)),)]
            yield Horizontal(label, FormField(asked.value, placeholder=asked.hint, id=name))
        notes = Reader(self._layout)
        notes.can_focus = False
        yield notes

    def hints(self) -> Iterator[tuple[str, str]]:
        yield "⏎", "next"
        yield "^s", "start"
        yield "^g", "prompt in $EDITOR"
        yield "esc", "leave"

    def on_mount(self) -> None:
        self.do(self._agents())

    async def _agents(self) -> None:
        listed: AgentList = await self.link.call(AGENT_LIST)
        self._notes = [
            ("" if one.needs is None else "dim", f"{one.name}: {one.needs or 'ready'}") for one in listed.agents
        ]
        self.query_one(Reader).read(self._layout)

    def _layout(self, width: int) -> list[Row]:
        rows: list[Row] = []
        if self._long is not None:
            rows += [(("dim", f"the prompt has {len(self._long.splitlines())} lines"),), ()]
        rows.append((("bold", "Agents"),))
        for role, text in self._notes:
            rows += wrap(shown_line(text), width, role)
        return rows

    def _value(self, name: str) -> str:
        return self.query_one(f"#{name}", Field).value.strip()

    @on(Input.Changed, "#prompt")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._long is not None and event.value != shown_line(self._long.strip()):
            self._long = None
            self.query_one(Reader).read(self._layout)

    def edit(self) -> None:
        field = self.query_one("#prompt", Field)
        try:
            text = terminal.edit(self.app, self._long if self._long is not None else field.value)
        except EleAgentError as error:
            self.say(error.message, "bad")
            return
        self._write(text)

    def lengthen(self, text: str) -> None:
        """More of the prompt, of several lines."""
        before = self._long if self._long is not None else self.query_one("#prompt", Field).value
        self._write(before + text)

    def _write(self, text: str) -> None:
        self._long = text if "\n" in text.strip() else None
        self.query_one("#prompt", Field).value = shown_line(text.strip())
        self.query_one(Reader).read(self._layout)

    def start(self) -> None:
        if not self._starting:
            self._starting = True
            self.do(self._start())

    async def _start(self) -> None:
        try:
            agent, prompt = self._value("agent") or "claude", self._long or self._value("prompt")
            timeout = self._value("timeout") or None
            body = SessionCreate(
                agent=agent,
                prompt=check_prompt(prompt) if agent != "command" else None,
                argv=["sh", "-c", prompt] if agent == "command" else None,
                data=[read_source(path.strip()) for path in self._value("data").split(",") if path.strip()],
                name=self._value("name") or None,
                model=self._value("model") or None,
                policy=self._value("policy") or None,
                project=self._value("project") or None,
                limits=SessionLimits(
                    max_cost_usd=_money(self._value("cost")),
                    max_tokens=_count("Tokens", self._value("tokens")),
                    max_turns=_count("Turns", self._value("turns")),
                    max_egress_bytes=read_size("Egress", self._value("egress") or None),
                    memory_bytes=read_size("Memory", self._value("memory") or None),
                    disk_bytes=read_size("Disk", self._value("disk") or None),
                    idle_timeout_s=read_duration("Idle", self._value("idle") or None),
                ),
                timeout_s=read_duration("Time", timeout),
                stay=agent != "command",  # who looks at it goes on talking to it
            )
            session: Session = await self.link.act(SESSION_CREATE, body=body)
        finally:
            self._starting = False
        self.set_focus(None)
        self.tui.link.sessions[session.key] = session
        self.tui.open_session(session.key)


def _count(name: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise BadRequest(f"{name} {text!r} is no number: write 200000")
    return int(text)


def _money(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = 0.0
    if value is not None and not 0 < value < math.inf:
        raise BadRequest(f"Cost {text!r} is no sum of money: write 5 or 0.50")
    return value
