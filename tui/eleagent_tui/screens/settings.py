"""How is this daemon set up, and which command changes what?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.errors import EleAgentError
from eleagent.operations.agents import AGENT_LIST
from eleagent.operations.system import DOCTOR, STATUS
from eleagent.permissions import ROLES, Role
from eleagent.wire.agents import AgentList
from eleagent.wire.system import Doctor, Status
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, Span, indented, shown_line, wrap

LEVELS = {"ok": ("good", "✓"), "warn": ("warn", "!"), "fail": ("bad", "✗")}


class Settings(Place):
    """What there is, to read. Each heading names the command that changes it."""

    NAME = "settings"
    TITLE = "Settings"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "reload", "look again")]

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[tuple[str, str, list[tuple[Span, str]]]] = []

    def body(self) -> ComposeResult:
        yield Reader(self._layout)

    def refill(self) -> None:
        if not self._parts:
            self.action_reload()

    def action_reload(self) -> None:
        self.do(self._ask(), group="ask", exclusive=True)

    async def _ask(self) -> None:
        self._parts = []
        async for part in self._found():
            self._parts.append(part)
            self.query_one(Reader).read(self._layout, from_top=False)

    async def _found(self) -> AsyncIterator[tuple[str, str, list[tuple[Span, str]]]]:
        """Heading, command, and lines with a mark, one noun after the other; a refusal stands in its noun's place."""
        for title, command, asks in (
            ("Daemon", "eleagent daemon run, eleagent config show", self._status),
            ("Agents", "eleagent agent install, eleagent image build", self._agents),
            ("Roles", "what each may do", self._roles),
            ("This host", "eleagent doctor", self._doctor),
        ):
            try:
                yield title, command, await asks()
            except EleAgentError as error:
                yield title, command, [(("bad", "✗"), error.message)]

    async def _status(self) -> list[tuple[Span, str]]:
        status: Status = await self.link.call(STATUS)
        return [
            (("dim", "·"), f"{name.replace('_', ' ')}: {value}")
            for name, value in _facts(status)
            if value not in ("", None)
        ]

    async def _agents(self) -> list[tuple[Span, str]]:
        listed: AgentList = await self.link.call(AGENT_LIST)
        return [
            (
                ("good", "✓") if one.needs is None else ("warn", "!"),
                " · ".join(filter(None, (f"{one.name} {one.version or ''}".strip(), one.needs or "ready", one.image))),
            )
            for one in listed.agents
        ]

    async def _roles(self) -> list[tuple[Span, str]]:
        mine = self.link.status.role if self.link.status is not None else ""
        return [
            (("name", "▸") if role == mine else ("dim", "·"), f"{role}: {', '.join(sorted(ROLES[role]))}")
            for role in Role
        ]

    async def _doctor(self) -> list[tuple[Span, str]]:
        found: Doctor = await self.link.call(DOCTOR)
        return [
            (LEVELS.get(one.level, ("dim", "·")), f"{one.name}: {one.found}" + (f" → {one.fix}" if one.fix else ""))
            for one in found.findings
        ]

    def _layout(self, width: int) -> list[Row]:
        rows: list[Row] = []
        for title, command, lines in self._parts:
            rows.append((("bold", title), ("dim", f"  {command}")))
            for (role, mark), text in lines:
                rows += indented(wrap(shown_line(text), width - 4), (role, f"  {mark} "), "    ")
            rows.append(())
        return rows or [(("dim", "asking the daemon …"),)]


def _facts(status: Status) -> Iterator[tuple[str, object]]:
    """The fields of a status, those of its limits among them."""
    for name, value in msgspec.structs.asdict(status).items():
        if isinstance(value, msgspec.Struct):
            yield from ((inner, what) for inner, what in msgspec.structs.asdict(value).items() if what is not None)
        else:
            yield name, value
