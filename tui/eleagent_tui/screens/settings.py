"""How is this daemon set up, and which command changes what?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.errors import DaemonUnreachable, EleAgentError
from eleagent.operations.agents import AGENT_LIST
from eleagent.operations.keys import KEY_LIST
from eleagent.operations.policies import POLICY_LIST
from eleagent.operations.system import DOCTOR, STATUS
from eleagent.operations.users import USER_LIST
from eleagent.permissions import Role
from eleagent.roles import ROLES
from eleagent.wire.agents import AgentList
from eleagent.wire.keys import ApiKey, ApiKeyList
from eleagent.wire.policies import PolicyList
from eleagent.wire.system import Doctor, Status
from eleagent.wire.users import User, UserList
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

    def come_back(self) -> None:
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
            ("Policy", "the daemon's configuration; eleagent policy show", self._policy),
            ("Agents", "eleagent agent install, eleagent image build", self._agents),
            ("Users", "eleagent user add, user edit, user rm", self._users),
            ("API keys", "eleagent key create, key revoke", self._api_keys),
            ("Roles", "what each may do", self._roles),
            ("This host", "eleagent doctor", self._doctor),
        ):
            try:
                yield title, command, await asks()
            except DaemonUnreachable:
                raise
            except EleAgentError as error:
                yield title, command, [(("bad", "✗"), error.message)]

    async def _status(self) -> list[tuple[Span, str]]:
        status: Status = await self.link.call(STATUS)
        return [
            (("dim", "·"), f"{name.replace('_', ' ')}: {value}")
            for name, value in msgspec.structs.asdict(status).items()
            if name not in ("limits", "user_day_usd")  # the policy has them
            and value not in ("", None)
        ]

    async def _policy(self) -> list[tuple[Span, str]]:
        from eleagent.cli.policies import policy_lines, term_lines

        found: PolicyList = await self.link.call(POLICY_LIST)
        default_first = sorted(found.policies, key=lambda one: one.name != found.default)
        lines = [
            (("name", "▸") if line.name == "policy" and one.name == found.default else ("dim", "·"), line)
            for one in default_first
            for line in policy_lines(one, found.default)
        ]
        lines += [(("dim", "·"), line) for line in term_lines(found.terms)]
        return [(mark, f"{line.name}: {line.text} → {line.setting}") for mark, line in lines]

    async def _agents(self) -> list[tuple[Span, str]]:
        listed: AgentList = await self.link.call(AGENT_LIST)
        return [
            (
                ("good", "✓") if one.needs is None else ("warn", "!"),
                " · ".join(filter(None, (f"{one.name} {one.version or ''}".strip(), one.needs or "ready", one.image))),
            )
            for one in listed.agents
        ]

    async def _users(self) -> list[tuple[Span, str]]:
        listed: UserList = await self.link.call(USER_LIST)
        return [(("dim", "·") if one.state == "active" else ("warn", "!"), _user(one)) for one in listed.users]

    async def _api_keys(self) -> list[tuple[Span, str]]:
        listed: ApiKeyList = await self.link.call(KEY_LIST)
        return [(("dim", "·"), text) for text in map(_key, listed.keys)] or [(("dim", "·"), "none")]

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


def _user(one: User) -> str:
    parts = (
        f"{one.name} ({one.role})", one.full_name, "" if one.state == "active" else one.state,
        f"account {one.unix_user}" if one.unix_user else "", "has a password" if one.password else "",
    )  # fmt: skip
    return " · ".join(filter(None, parts))


def _key(one: ApiKey) -> str:
    may = one.group or ", ".join(one.scopes)
    used = f"used last {one.used[:10]}" if one.used else "never used"
    return f"{one.id} of {one.user}: {one.note} · {may} · until {one.expires[:10]} · {used}"
