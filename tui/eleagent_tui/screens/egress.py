"""What do sessions reach for on the network, and what is decided?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.cli.amounts import human_size
from eleagent.operations.egress import EGRESS_LIST, EGRESS_TOP
from eleagent.wire.egress import EgressDecision, EgressHost, EgressList, EgressTop
from eleagent_tui.cards import clock
from eleagent_tui.paged import PAGE, Paged
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, indented, shown_line, wrap
from eleagent_tui.table import Column, Item, Table

POLL_S: Final = 1.0
COLUMNS: Final = (
    Column("TIME", 8), Column("", 1), Column("SESSION", 14, rank=2), Column("HOST", 34), Column("ASKED", 24, rank=3),
    Column("RULE"),
)  # fmt: skip
TOP_COLUMNS: Final = (
    Column("HOST"), Column("ALLOWED", 8, right=True), Column("REFUSED", 8, right=True),
    Column("SESSIONS", 8, right=True, rank=2), Column("UP", 8, right=True), Column("DOWN", 8, right=True),
)  # fmt: skip


class EgressPlace(Place):
    """Decisions as they are made, the newest first, with the rule that made each. Below: why, for the chosen one."""

    NAME = "egress"
    TITLE = "Egress"
    DEFAULT_CSS = "EgressPlace > #why { height: 4; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "its session", key_display="⏎"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("r", "refused", "refused only"),
        Binding("h", "top", "top hosts"),
    ]

    def __init__(self, key: str = "", *, name: str = "") -> None:
        super().__init__()
        self.key = key
        self._title = name
        self._needle = ""
        self._refused = False
        self._top = False
        self._paged = Paged()

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="asking the daemon …", id="decisions")
        yield Table(TOP_COLUMNS, empty="asking the daemon …", id="hosts")
        yield Reader(id="why")

    def crumbs(self) -> list[str]:
        crumbs = [self._title, "network"] if self.key else [self.TITLE or ""]
        crumbs += ["refused"] if self._refused else []
        crumbs += ["top hosts"] if self._top else []
        return [*crumbs, f"/{self._needle}"] if self._needle else crumbs

    @property
    def table(self) -> Table:
        return self.query_one("#decisions", Table)

    def on_mount(self) -> None:
        self.query_one("#hosts").display = False
        self.query_one("#why").can_focus = False

    def refill(self) -> None:
        self.do(self._watch(), group="watch", exclusive=True)

    def _query(self) -> dict[str, str | bool | int | None]:
        return {"session": self.key or None, "text": self._needle or None, "refused": self._refused or None}

    async def _watch(self) -> None:
        """The newest page, then what comes, for as long as the place is seen."""
        generation = self._paged.begin()
        while self.is_current and generation == self._paged.generation:
            if self._top:
                await self._hosts()
            else:
                await self._decisions()
            await asyncio.sleep(POLL_S)

    async def _decisions(self) -> None:
        paged = self._paged
        if paged.newest:
            found: EgressList = await self.link.call(EGRESS_LIST, query=self._query() | {"after": paged.newest})
        else:
            found = await self.link.call(EGRESS_LIST, query=self._query() | {"newest": True, "limit": PAGE})
            paged.older = found.next
        if found.decisions or not paged.newest:
            items = [self._item(one) for one in reversed(found.decisions)]
            paged.put_newer(items, found.decisions[-1].id if found.decisions else 0)
            self.table.say_empty("nothing matches" if self._needle or self._refused else "nothing was asked for yet")
            self.table.show(paged.items, now=True)

    async def _hosts(self) -> None:
        top: EgressTop = await self.link.call(EGRESS_TOP, query={"session": self.key or None, "limit": 100})
        table = self.query_one("#hosts", Table)
        table.say_empty("nothing was asked for yet")
        table.show([_host(one) for one in top.hosts], now=True)

    @on(Table.Moved, "#decisions")
    def _moved(self, event: Table.Moved) -> None:
        event.stop()
        item = event.item
        self.query_one("#why", Reader).read(lambda width: list(_why(item.value, width)) if item is not None else [])
        if self._paged.wants_older(item):
            self.do(self._older(), group="older")

    async def _older(self) -> None:
        before, self._paged.older = self._paged.older, None
        generation = self._paged.generation
        query = self._query() | {"newest": True, "before": before, "limit": PAGE}
        found: EgressList = await self.link.call(EGRESS_LIST, query=query)
        if generation == self._paged.generation:
            self._paged.put_older([self._item(one) for one in reversed(found.decisions)], found.next)
            self.table.show(self._paged.items)

    def _item(self, one: EgressDecision) -> Item:
        session = self.link.sessions.get(one.session)
        role = "" if one.allowed else "bad"
        times = f" ({one.count} times)" if one.count > 1 else ""
        return Item(
            str(one.id),
            (
                ("dim", clock(one.ts)), ("good", "✓") if one.allowed else ("bad", "✗"),
                ("dim", "" if self.key else shown_line(session.name if session is not None else one.session)),
                (role, shown_line(one.host)), ("dim", shown_line(one.asked)), ("dim", shown_line(one.rule) + times),
            ),
            value=one,
        )  # fmt: skip

    # What can be done.

    @on(Table.Chosen, "#decisions")
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.tui.open_session(event.item.value.session, at=event.item.value.seq)

    def action_open(self) -> None:
        self.table.action_choose()

    def action_filter(self) -> None:
        async def narrow(needle: str) -> None:
            self._needle = needle.strip()
            self.refill()
            self.update_head()

        self.ask("/", narrow, text=self._needle)

    def action_refused(self) -> None:
        self._refused = not self._refused
        self.refill()
        self.update_head()

    def action_top(self) -> None:
        self._top = not self._top
        hosts = self.query_one("#hosts", Table)
        hosts.display, self.table.display = self._top, not self._top
        self.query_one("#why").display = not self._top
        self.set_focus(hosts if self._top else self.table)
        self.refill()
        self.update_head()


def _why(one: EgressDecision, width: int) -> Iterator[Row]:
    verdict = ("good", "allowed") if one.allowed else ("bad", "refused")
    yield (("dim", "─" * width),)
    text = f" by rule {one.rule} · event {one.seq} of {one.session} · {human_size(one.bytes_up)} up, "
    text += f"{human_size(one.bytes_down)} down · {one.duration_ms / 1000:.1f} s"
    text += f" · connected to {one.address}" if one.address else ""
    text += f" · {one.reason}" if one.reason else ""
    yield from indented(wrap(shown_line(text), width - 8), verdict, " " * 7)


def _host(one: EgressHost) -> Item:
    return Item(
        one.host,
        (
            ("", shown_line(one.host)), ("", str(one.allowed or "")), ("bad", str(one.refused or "")),
            ("dim", str(one.sessions)), ("dim", human_size(one.bytes_up)), ("dim", human_size(one.bytes_down)),
        ),
    )  # fmt: skip
