"""What did sessions use of models, who used it, and what did it cost?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.cli.limits import told
from eleagent.operations.usage import USAGE
from eleagent.wire.limits import UsageBy, UsageReport, UsageRow
from eleagent.wire.sessions import Session, SessionDetail
from eleagent_tui.place import Place
from eleagent_tui.rows import Row, indented, shown_line, wrap
from eleagent_tui.screens.facts import SessionFacts
from eleagent_tui.table import Column, Item, Table

COLUMNS: Final = (
    Column("NAME"), Column("SESSIONS", 8, right=True, rank=1), Column("REQUESTS", 8, right=True, rank=2),
    Column("INPUT", 13, right=True), Column("OUTPUT", 13, right=True), Column("FROM CACHE", 13, right=True, rank=3),
    Column("TO CACHE", 13, right=True, rank=4), Column("USD", 10, right=True),
)  # fmt: skip


class UsagePlace(Place):
    """This month's tokens and money, counted by the host at list prices, the dearest first."""

    NAME = "usage"
    TITLE = "Usage"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "by(1)", "by the next"),
        Binding("B", "by(-1)", "by the one before", show=False),
        Binding("r", "refill", "look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._by = UsageBy.USER
        self._report: UsageReport | None = None

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="asking the daemon …")

    def crumbs(self) -> list[str]:
        crumbs = [f"Usage by {self._by}"]
        if (report := self._report) is not None:
            crumbs.append(f"{report.since} to {report.until}: {report.total.cost_usd:,.2f} USD")
        return crumbs

    def refill(self) -> None:
        self.do(self._ask(), group="ask", exclusive=True)

    def action_refill(self) -> None:
        self.refill()

    def action_by(self, step: int) -> None:
        kinds = list(UsageBy)
        self._by = kinds[(kinds.index(self._by) + step) % len(kinds)]
        self.refill()

    async def _ask(self) -> None:
        report: UsageReport = await self.link.call(USAGE, query={"by": self._by})
        self._report = report
        table = self.query_one(Table)
        table.say_empty(f"nothing was used from {report.since} to {report.until}")
        table.show([_item(row) for row in report.rows], now=True)
        self.update_head()
        if report.total.unpriced_tokens:
            self.say(f"{report.total.unpriced_tokens:,} tokens are of models without a known price", "warn")


def _item(row: UsageRow) -> Item:
    counts = (
        row.sessions, row.requests, row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_tokens,
    )  # fmt: skip
    money = f"{row.cost_usd:,.2f}" + ("+" if row.unpriced_tokens else "")
    name = shown_line(row.name) or "-"
    return Item(row.name, (("", name), *(("dim", f"{count:,}") for count in counts), ("", money)), value=row)


class SessionUsage(SessionFacts):
    """What one session used, and what it may use."""

    TITLE = "Usage"
    CRUMB = "usage"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "reload", "look again")]

    def rows(self, detail: SessionDetail, width: int) -> Iterator[Row]:
        return rows(detail.session, width)


def rows(session: Session, width: int) -> Iterator[Row]:
    used = session.usage
    counted = {
        "requests": used.requests, "turns": used.turns, "refused": used.refused, "input tokens": used.input_tokens,
        "output tokens": used.output_tokens, "from cache": used.cache_read_tokens,
        "to cache": used.cache_write_tokens, "all tokens": used.tokens, "without price": used.unpriced_tokens,
    }  # fmt: skip
    for name, count in counted.items():
        yield (("dim", f"{name:<16}"), ("", f"{count:>15,}"))
    yield (("dim", f"{'cost':<16}"), ("bold", f"{used.cost_microusd / 1e6:>15,.4f}"), ("dim", " USD at list prices"))
    yield ()
    limits = wrap(shown_line(told(session) or "none"), width - 16)
    yield from indented(limits, ("dim", f"{'may use':<16}"), " " * 16)
