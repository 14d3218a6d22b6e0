"""What do the agents do, at a glance?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.cli.amounts import age
from eleagent.errors import EleAgentError, Unauthenticated
from eleagent.operations.sessions import SESSION_STOP
from eleagent.wire.sessions import Session, SessionStop
from eleagent.wire.states import Group
from eleagent_tui.link import Online, SessionsChanged
from eleagent_tui.place import Place
from eleagent_tui.rows import shown_line
from eleagent_tui.table import Column, Item, Table

COLUMNS: Final = (
    Column("NAME", 20), Column("STATE", 17), Column("AGENT", 12, rank=2), Column("PROJECT", 12, rank=5),
    Column("OWNER", 12, rank=4), Column("AGE", 4, right=True), Column("TOKENS", 7, right=True, rank=3),
    Column("USD", 6, right=True, rank=2), Column("TITLE", 40, rank=6), Column("LAST LINE"),
)  # fmt: skip

DEFAULT_PROJECT: Final = "default"
"""Where a session is that names none; not worth a column."""

_ROLES: Final = {
    Group.NEEDS_YOU: "warn",
    Group.WORKING: "name",
    Group.IDLE: "dim",
    Group.DONE: "good",
    Group.FAILED: "bad",
}


class Sessions(Place):
    """All sessions, those first that need somebody. Enter opens one."""

    NAME = "sessions"
    TITLE = "Sessions"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", key_display="⏎"),
        Binding("n", "new", "new"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("space", "mark", "mark"),
        Binding("x", "stop", "stop"),
        Binding("s", "sort", "sort"),
        Binding("S", "reverse", "sort the other way round", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._needle = ""
        self._order = -1
        self._backwards = False

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="asking the daemon …")

    @property
    def table(self) -> Table:
        return self.query_one(Table)

    def crumbs(self) -> list[str]:
        count = len(self.link.sessions)
        crumbs = [f"Sessions ({count})" if count else "Sessions"]
        return [*crumbs, f"/{self._needle}"] if self._needle else crumbs

    @on(SessionsChanged)
    @on(Online)
    def refill(self) -> None:
        link = self.link
        if link.why is not None and not link.known:
            self.table.say_empty(advice(link.why))
        elif link.known:
            self.table.say_empty("no session matches" if self._needle else "no sessions yet: n starts one")
        self.table.show(items(link.sessions.values()))

    # What can be done.

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.tui.open_session(event.item.key)

    def action_open(self) -> None:
        self.table.action_choose()

    def action_new(self) -> None:
        self.tui.action_new()

    def action_filter(self) -> None:
        before = self._needle

        async def kept(needle: str) -> None:
            self._narrow(needle)

        self.ask("/", kept, text=before, changed=self._narrow, given_up=lambda: self._narrow(before))

    def _narrow(self, needle: str) -> None:
        self._needle = needle
        words = needle.lower().split()
        self.table.say_empty("no session matches" if words else "no sessions yet: n starts one")
        self.table.narrow((lambda item: all(word in _searched(item.value) for word in words)) if words else None)
        self.update_head()

    def action_mark(self) -> None:
        self.table.toggle_mark()

    def action_sort(self) -> None:
        self._order = self._order + 1 if self._order + 1 < len(COLUMNS) else -1
        self._sort()

    def action_reverse(self) -> None:
        self._backwards = not self._backwards
        self._sort()

    def _sort(self) -> None:
        self.table.order(None if self._order < 0 else self._order, backwards=self._backwards)
        by = "newest first" if self._order < 0 else f"by {COLUMNS[self._order].title.lower()}"
        self.say(f"sorted {by}{', the other way round' if self._backwards and self._order >= 0 else ''}", "dim")

    def action_stop(self) -> None:
        marked = [item for item in self.table.items if item.key in self.table.marked]
        chosen = marked or ([self.table.current] if self.table.current else [])
        going = [item.value for item in chosen if not item.value.state.ended]
        if not going:
            self.say("nothing to stop: it has ended", "dim")
            return
        what = shown_line(going[0].name) if len(going) == 1 else f"{len(going)} sessions"

        async def stop() -> None:
            for session in going:
                await self.link.act(SESSION_STOP, body=SessionStop(), key=session.key)
            self.table.marked.clear()
            self.say(f"stopping {what}")

        self.confirm(f"Stop {what}?", stop)


def advice(error: EleAgentError) -> str:
    """What is wrong; the command that helps on a line of its own, which is copied whole."""
    if isinstance(error, Unauthenticated):
        return f"{shown_line(error.message)}\n\nL logs in from here."
    command = error.fields.get("command")
    if not isinstance(command, str) or not error.message.endswith(command):
        return shown_line(error.message)
    return f"{shown_line(error.message.removesuffix(command).rstrip())}\n\n  {shown_line(command)}"


def items(sessions: Iterable[Session]) -> list[Item]:
    """Grouped, within a group the newest first."""
    now = datetime.now(UTC)
    made = [_item(session, now) for session in sessions]
    made.sort(key=lambda item: item.value.created, reverse=True)
    made.sort(key=lambda item: list(Group).index(item.value.state.group))
    return made


def _item(session: Session, now: datetime) -> Item:
    group = session.state.group
    used = session.usage.input_tokens + session.usage.output_tokens
    cost = session.usage.cost_microusd / 1e6
    old = age(session.created, now)
    name, owner, agent = shown_line(session.name), shown_line(session.owner), shown_line(session.agent)
    title, last = shown_line(session.title), shown_line(session.last_line)
    project = shown_line(session.project if session.project != DEFAULT_PROJECT else "")
    return Item(
        key=session.key,
        cells=(
            ("", name), (_ROLES[group], str(session.state)), ("", agent), ("dim", project), ("dim", owner),
            ("dim", old), ("dim", short(used) if used else ""), ("dim", f"{cost:.2f}" if cost else ""), ("", title),
            ("", last) if last else ("dim", title),
        ),
        section=group,
        value=session,
        sort=(
            name, session.state, agent, project, owner, -datetime.fromisoformat(session.created).timestamp(), used,
            cost, title, last,
        ),
    )  # fmt: skip


def short(count: int) -> str:
    """950, 12k, 3.4M."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.3g}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def _searched(session: Session) -> str:
    words = (session.key, session.name, session.state, session.agent, session.project, session.owner, session.title)
    return " ".join(words).lower()
