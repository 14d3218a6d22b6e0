"""Who did what, and was it allowed?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.operations.audit import AUDIT_GET, AUDIT_LIST
from eleagent.wire.audit import AuditEntry, AuditList, AuditRecord
from eleagent_tui import terminal
from eleagent_tui.paged import PAGE, Paged
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, indented, shown, shown_line, wrap
from eleagent_tui.table import Column, Item, Table

COLUMNS: Final = (
    Column("SEQ", 8, right=True, rank=4), Column("TIME", 14), Column("ACTOR", 16), Column("ACTION", 22),
    Column("", 8), Column("OBJECT", 24, rank=2), Column("OUTCOME"),
)  # fmt: skip
RANGES: Final = (
    ("all time", None), ("the last hour", timedelta(hours=1)), ("the last day", timedelta(days=1)),
    ("the last week", timedelta(days=7)), ("the last 30 days", timedelta(days=30)),
)  # fmt: skip
_FILTERS: Final = ("actor", "action", "object", "decision", "host", "path")


class Audit(Place):
    """The audit log, the newest first. A filter is words that are in a record, or actor=NAME, action=NOUN.VERB,
    object=, decision=denied, host=, path=.
    """

    NAME = "audit"
    TITLE = "Audit"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "whole", key_display="⏎"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("t", "range", "time"),
        Binding("r", "reload", "newest"),
        Binding("V", "verify", "verify"),
        Binding("X", "export", "export"),
    ]

    def __init__(self, key: str = "", *, name: str = "") -> None:
        super().__init__()
        self.key = key
        self._title = name
        self._filter = ""
        self._range = 0
        self._since: str | None = None
        self._paged = Paged()

    def body(self) -> ComposeResult:
        yield Table(COLUMNS, empty="asking the daemon …")

    def crumbs(self) -> list[str]:
        crumbs = [self._title, "audit"] if self.key else [self.TITLE or ""]
        crumbs += [RANGES[self._range][0]] if self._range else []
        return [*crumbs, f"/{self._filter}"] if self._filter else crumbs

    def refill(self) -> None:
        if not self._paged.items:
            self.action_reload()

    def action_reload(self) -> None:
        back = RANGES[self._range][1]
        self._since = (datetime.now(UTC) - back).isoformat() if back is not None else None
        self._paged.begin()
        self.do(self._page(), group="page", exclusive=True)

    def _query(self) -> dict[str, str | int | bool | None]:
        query: dict[str, str | int | bool | None] = {"session": self.key or None, "since": self._since, "newest": True}
        words = []
        for word in self._filter.split():
            name, _, value = word.partition("=")
            if name in _FILTERS and value:
                query[name] = value
            else:
                words.append(word)
        return query | {"text": " ".join(words) or None, "limit": PAGE}

    async def _page(self) -> None:
        paged = self._paged
        generation = paged.generation
        before, paged.older = paged.older, None
        found: AuditList = await self.link.call(AUDIT_LIST, query=self._query() | {"before": before})
        if generation != paged.generation:
            return
        paged.put_older([_item(record) for record in reversed(found.records)], found.next)
        table = self.query_one(Table)
        table.say_empty("no record matches" if self._filter or self._range else "no records")
        table.show(paged.items, now=True)

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        event.stop()
        if self._paged.wants_older(event.item):
            self.do(self._page(), group="page")

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.tui.go(Record(event.item.value.seq))

    def action_open(self) -> None:
        self.query_one(Table).action_choose()

    def action_filter(self) -> None:
        async def narrow(text: str) -> None:
            self._filter = text.strip()
            self.update_head()
            self.action_reload()

        self.ask("/", narrow, text=self._filter)

    def action_range(self) -> None:
        self._range = (self._range + 1) % len(RANGES)
        self.update_head()
        self.action_reload()

    def action_verify(self) -> None:
        terminal.command(self.app, self.tui.host, "audit", "verify")

    def action_export(self) -> None:
        async def export(name: str) -> None:
            dest = await asyncio.to_thread(Path(name).expanduser)
            words = [f"--{name}={value}" for name, value in self._query().items() if isinstance(value, str)]
            words = [word.replace("--host=", "--to=") for word in words]
            form = "csv" if name.endswith(".csv") else "jsonl"
            terminal.command(self.app, self.tui.host, "audit", "export", "--format", form, "-o", str(dest), *words)

        self.ask("Export what is filtered here to (.jsonl or .csv)", export, text="audit.jsonl")


class Record(Place):
    """One record whole, as it was hashed."""

    NAME = "audit"
    TITLE = "Record"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("y", "copy", "copy")]

    def __init__(self, seq: int) -> None:
        super().__init__()
        self._seq = seq
        self._line = ""

    def body(self) -> ComposeResult:
        yield Reader(lambda _: [(("dim", "asking the daemon …"),)])

    def crumbs(self) -> list[str]:
        return ["Audit", f"record {self._seq}"]

    def on_mount(self) -> None:
        self.do(self._ask())

    async def _ask(self) -> None:
        entry: AuditEntry = await self.link.call(AUDIT_GET, seq=str(self._seq))
        self._line = entry.line
        self.query_one(Reader).read(lambda width: list(_record(entry, width)))

    def action_copy(self) -> None:
        self.say(terminal.copy(self.app, self._line))


def _item(record: AuditRecord) -> Item:
    at = datetime.fromisoformat(record.ts).astimezone()
    bad = record.decision in ("denied", "refused")
    decision = ("bad" if bad else "dim", record.decision if record.decision != "allowed" else "")
    return Item(
        str(record.seq),
        (
            ("dim", str(record.seq)), ("dim", at.strftime("%m-%d %H:%M:%S")), ("", shown_line(record.actor)),
            ("", shown_line(record.action)), decision, ("dim", shown_line(record.object or record.session)),
            ("dim", shown_line(record.outcome or record.phase)),
        ),
        value=record,
    )  # fmt: skip


def _record(entry: AuditEntry, width: int) -> Iterator[Row]:
    fields = msgspec.structs.asdict(entry.record)
    details = fields.pop("details")
    for name, value in [*fields.items(), *details.items(), ("log", entry.origin)]:
        if value not in ("", None):
            lines = wrap(shown_line(str(value)), width - 14)
            yield from indented(lines, ("dim", f"{shown_line(name):<14.13}"), " " * 14)
    yield ()
    yield (("bold", "As it was hashed"),)
    yield from wrap(shown(entry.line), width, words=False)
    yield ()
    if entry.proof:
        yield (("bold", "Its proof of inclusion"),)
        yield from wrap(shown(entry.proof), width, words=False)
    else:
        yield (("dim", "not under a checkpoint yet"),)
