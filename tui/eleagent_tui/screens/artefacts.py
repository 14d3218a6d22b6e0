"""What did sessions leave behind, and what is in it?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from eleagent.cli.amounts import human_size
from eleagent.errors import BadRequest
from eleagent.operations.artefacts import ARTEFACT_GET, ARTEFACT_LIST
from eleagent.wire.sessions import Artefact, ArtefactList
from eleagent_tui import preview, terminal
from eleagent_tui.cards import clock
from eleagent_tui.link import SessionsChanged
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, shown_line
from eleagent_tui.table import Column, Item, Table
from eleagent_tui.written import Written, written_by

PAGER_BYTES: Final = 8 << 20


class Artefacts(Place):
    """The sessions that left files. Enter shows those of one."""

    NAME = "artefacts"
    TITLE = "Artefacts"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "open", key_display="⏎")]

    def body(self) -> ComposeResult:
        columns = (Column("NAME", 20), Column("STATE", 17), Column("FILES", 6, right=True), Column("TITLE"))
        yield Table(columns, empty="no session has left anything yet")

    @on(SessionsChanged)
    def refill(self) -> None:
        sessions = sorted(self.link.sessions.values(), key=lambda one: one.created, reverse=True)
        self.query_one(Table).show(
            [
                Item(
                    one.key,
                    (
                        ("", shown_line(one.name)),
                        ("dim", str(one.state)),
                        ("", str(one.artefacts)),
                        ("", shown_line(one.title)),
                    ),
                    value=one,
                )
                for one in sessions
                if one.artefacts
            ]
        )

    @on(Table.Chosen)
    def _chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.tui.go(Files(event.item.key, name=event.item.value.name))

    def action_open(self) -> None:
        self.query_one(Table).action_choose()


class Files(Place):
    """What one session left: a list, and how the chosen file begins."""

    NAME = "artefacts"
    TITLE = "Files"
    DEFAULT_CSS = """
    Files > Table { height: 2fr; }
    Files > Reader { height: 3fr; }
    Files > #rule { height: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "other", "list or file", key_display="⇥"),
        Binding("w", "save", "save here"),
        Binding("v", "pager", "pager"),
        Binding("y", "copy", "copy"),
        Binding("Y", "copy_path", "copy its name", show=False),
    ]

    def __init__(self, key: str, *, name: str) -> None:
        super().__init__()
        self.key = key
        self._title = name
        self._complete = True
        self._data: tuple[Artefact, bytes] | None = None

    def body(self) -> ComposeResult:
        columns = (
            Column("FILE"), Column("SIZE", 8, right=True), Column("TURN", 4, right=True, rank=1),
            Column("WRITTEN", 8, rank=2), Column("SHA256", 16, rank=3),
        )  # fmt: skip
        yield Table(columns, empty="asking …")
        yield Reader()

    def crumbs(self) -> list[str]:
        return [self._title, "files" if self._complete else "files of the last collection"]

    def on_mount(self) -> None:
        self.do(self._list())

    def come_back(self) -> None:
        self.do(self._list())

    async def _list(self) -> None:
        listed: ArtefactList = await self.link.call(ARTEFACT_LIST, key=self.key)
        self._complete = listed.complete
        table = self.query_one(Table)
        table.say_empty("it left nothing" if listed.complete else "nothing yet: files are collected when it ends")
        artefacts = sorted(listed.artefacts, key=lambda one: one.path)
        table.show([_item(one, None) for one in artefacts], now=True)
        self.update_head()
        if listed.skipped:
            self.say(f"not kept: {len(listed.skipped)}, first {listed.skipped[0]}", "warn")
        if artefacts:
            written = await written_by(self.link, self.key)
            table.show([_item(one, written.get(one.path)) for one in artefacts], now=True)

    @on(Table.Moved)
    def _moved(self, event: Table.Moved) -> None:
        event.stop()
        if event.item is not None:
            self.do(self._preview(event.item.value), group="preview", exclusive=True)

    async def _preview(self, artefact: Artefact) -> None:
        await asyncio.sleep(0.05)  # who runs through the list reads none of them
        data = await self._read(artefact, preview.LIMIT_BYTES)
        self._data = artefact, data

        def layout(width: int) -> list[Row]:
            head: Row = (("bold", shown_line(artefact.path)), ("dim", f"  {human_size(artefact.size_bytes)}"))
            return [head, *preview.rows(artefact.path, data, artefact.size_bytes, width)]

        self.query_one(Reader).read(layout)

    async def _read(self, artefact: Artefact, limit: int) -> bytes:
        return await self.link.read(ARTEFACT_GET, query={"path": artefact.path}, limit=limit, key=self.key)

    @property
    def _chosen(self) -> Artefact | None:
        item = self.query_one(Table).current
        return item.value if item is not None else None

    def action_other(self) -> None:
        table, reader = self.query_one(Table), self.query_one(Reader)
        self.set_focus(reader if table.has_focus else table)

    def action_save(self) -> None:
        artefact = self._chosen
        if artefact is None:
            return

        async def save(name: str) -> None:
            dest = await asyncio.to_thread(_place_for, name, artefact.path)
            await self.link.fetch(self.key, artefact, dest)
            self.say(f"saved {dest} ({human_size(artefact.size_bytes)}, digest checked)")

        self.ask("Save as", save, text=_plain_name(artefact.path))

    def action_pager(self) -> None:
        if (artefact := self._chosen) is not None:
            self.do(self._page(artefact))

    async def _page(self, artefact: Artefact) -> None:
        data = await self._read(artefact, PAGER_BYTES)
        if b"\0" in data:
            raise BadRequest(f"{artefact.path} is no text: w saves it")
        terminal.page(self.app, data.decode("utf-8", "replace"))

    def action_copy(self) -> None:
        if self._data is not None:
            self.do(self._copy(*self._data))

    async def _copy(self, artefact: Artefact, data: bytes) -> None:
        if len(data) < artefact.size_bytes or b"\0" in data:
            raise BadRequest(f"{artefact.path} is too large to copy, or no text: w saves it")
        self.say(terminal.copy(self.app, data.decode("utf-8", "replace")))

    def action_copy_path(self) -> None:
        if (artefact := self._chosen) is not None:
            self.say(terminal.copy(self.app, f"{self.key}:{artefact.path}"))


def _item(artefact: Artefact, written: Written | None) -> Item:
    turn, at = (str(written.turn or ""), clock(written.at)) if written is not None else ("", "")
    return Item(
        artefact.path,
        (
            ("", shown_line(artefact.path)), ("dim", human_size(artefact.size_bytes)), ("dim", turn), ("dim", at),
            ("dim", artefact.sha256[:16]),
        ),
        value=artefact,
    )  # fmt: skip


def _place_for(name: str, path: str) -> Path:
    """Blocking. The new file that a person means; below a folder it gets the file's own name."""
    dest = Path(name).expanduser()
    return dest / _plain_name(path) if dest.is_dir() else dest


def _plain_name(path: str) -> str:
    """The file's own name, where a name of ours may begin with it."""
    name = path.rpartition("/")[2]
    return name if name.isprintable() and not name.startswith((".", "-", "~")) else "artefact"
