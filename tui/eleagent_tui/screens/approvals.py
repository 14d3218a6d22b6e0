"""What do agents ask for, and what is the answer?"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import ClassVar, Final

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_GET
from eleagent.wire.approvals import Approval, ApprovalAnswer
from eleagent_tui.cards import clock
from eleagent_tui.link import ApprovalsChanged
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, indented, shown, shown_line, wrap
from eleagent_tui.table import Column, Item, Table

GRACE_S: Final = 0.5
"""A question that has just appeared takes no answer: the key was meant for what was there before."""

TYPING_S: Final = 1.0
"""Nor does one take it from who was typing a moment ago."""

COLUMNS: Final = (
    Column("ASKED", 8), Column("SESSION", 16), Column("KIND", 10), Column("OWNER", 10, rank=3), Column("WHAT"),
)  # fmt: skip


class Approvals(Place):
    """The questions of all sessions, the oldest first. Capital A allows, capital D denies, W allows for always; nothing
    else answers. What is asked has to be read to its end before it can be allowed.
    """

    NAME = "approvals"
    TITLE = "Approvals"
    DEFAULT_CSS = """
    Approvals > Table { height: 1fr; }
    Approvals > Reader { height: 2fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A", "answer(True, False)", "allow"),
        Binding("D", "answer(False, False)", "deny"),
        Binding("W", "answer(True, True)", "always"),
        Binding("c", "comment", "comment"),
        Binding("tab", "other", "read", key_display="⇥"),
        Binding("o", "open", "its session"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._whole: Approval | None = None
        self._read = False
        self._since = 0.0
        self._comment = ""

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="nobody asks for anything")
        yield Reader()

    def crumbs(self) -> list[str]:
        count = len(self.link.approvals)
        return [f"Approvals ({count})" if count else "Approvals"]

    @property
    def reader(self) -> Reader:
        return self.query_one(Reader)

    @on(ApprovalsChanged)
    def refill(self) -> None:
        self._since = monotonic() if not self.query_one(Table).items else self._since
        asked = sorted(self.link.approvals.values(), key=lambda one: one.asked)
        self.query_one(Table).show([self._item(one) for one in asked], now=True)
        self.update_head()

    def _item(self, one: Approval) -> Item:
        session = self.link.sessions.get(one.session)
        name = shown_line(session.name if session is not None else one.session)
        what = shown_line(one.subject)
        kind = ("warn" if one.kind.wall else "dim", str(one.kind))
        return Item(
            one.id, (("dim", clock(one.asked)), ("", name), kind, ("dim", shown_line(one.owner)), ("", what)), value=one
        )

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        """Another question is shown: it takes no answer before it was there for a moment, whole."""
        event.stop()
        self._since, self._whole, self._read, self._comment = monotonic(), None, False, ""
        item = event.item
        if item is None:
            self.reader.read(lambda _: [])
        else:
            self.do(self._show(item.key), group="whole", exclusive=True)

    async def _show(self, id: str) -> None:  # noqa: A002  # the operation's name for it
        whole: Approval = await self.link.call(APPROVAL_GET, id=id)
        current = self.query_one(Table).current
        if current is not None and current.key == whole.id:
            self._whole, self._since = whole, monotonic()
            self.reader.read(lambda width: list(request(whole, self._comment, width)))
            self._seen()

    @on(Reader.Scrolled)
    def _seen(self) -> None:
        self._read = self._whole is not None and (self._read or self.reader.at_end)

    # Answering.

    def action_answer(self, allow: bool, always: bool) -> None:
        whole, now = self._whole, monotonic()
        if whole is None:
            return
        if now - self._since < GRACE_S or now - self.tui.typed_at < TYPING_S:
            self.say("not answered: it has only just appeared; press it again", "warn")
        elif allow and not self._read:
            self.set_focus(self.reader)
            self.say("read it to its end first (PgDn), then A allows", "warn")
        elif always and not whole.kind.grantable:
            self.say("a budget can't be allowed for always: A allows it this time", "warn")
        else:
            self._whole = None  # the same key pressed twice answers once
            answer = ApprovalAnswer(allow=allow, always=always, comment=self._comment)
            self.do(self._answer(whole, answer))

    async def _answer(self, whole: Approval, answer: ApprovalAnswer) -> None:
        try:
            await self.link.act(APPROVAL_ANSWER, body=answer, id=whole.id)
        except BaseException:
            self._whole = whole
            raise
        said = "denied" if not answer.allow else "allowed for always" if answer.always else "allowed"
        self.say(f"{said}: {whole.subject}", "good" if answer.allow else "warn")

    def action_comment(self) -> None:
        async def keep(text: str) -> None:
            self._comment = text.strip()
            if (whole := self._whole) is not None:
                self.reader.read(lambda width: list(request(whole, self._comment, width)), from_top=False)

        if self._whole is not None:
            self.ask("Comment for the answer", keep, text=self._comment)

    def action_other(self) -> None:
        table = self.query_one(Table)
        self.set_focus(self.reader if table.has_focus else table)

    def action_open(self) -> None:
        if (item := self.query_one(Table).current) is not None:
            self.tui.open_session(item.value.session)


def request(one: Approval, comment: str, width: int) -> Iterator[Row]:
    """The whole request; nothing of it is cut, and nothing of it is invisible."""
    wall = "enforced outside the sandbox" if one.kind.wall else "what the agent says; a courtesy, no wall"
    facts = {
        "asks for": f"{one.kind} {one.subject}", "kind": wall, "session": f"{one.session} of {one.owner}",
        "agent": f"{one.agent} under policy {one.policy}", "asked": one.asked,
        "expires": one.expires or "never", "why": one.why, "comment": comment,
    }  # fmt: skip
    for name, value in facts.items():
        if value:
            role = "bold" if name == "asks for" else ""
            yield from indented(wrap(shown_line(value), width - 10, role), ("dim", f"{name:<10}"), " " * 10)
    if one.parameters:
        yield ()
        yield from wrap(shown(_formatted(one.parameters)), width, words=False)
    yield (("dim", "─ end of the request " + "─" * max(0, width - 21)),)


def _formatted(text: str) -> str:
    try:
        return msgspec.json.format(text.encode(), indent=2).decode()
    except msgspec.DecodeError:
        return text
