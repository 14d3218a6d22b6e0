"""How is a list of things shown, chosen from, marked, sorted and filtered?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.events import MouseDown, MouseScrollDown, MouseScrollUp, Resize
from textual.message import Message

from eleagent_tui.paint import Painted
from eleagent_tui.rows import Row, Span, fit, pad, width_of, wrap

FRAME_S = 0.1
"""Changes within it are one repaint."""


class Column(NamedTuple):
    """`most`: cells it takes at most; 0 for the one that takes what is left. It goes first where `rank` is highest."""

    title: str
    most: int = 0
    right: bool = False
    rank: int = 0


class Item(NamedTuple):
    """`key` is its own among all. Items of one `section` stand together under its name. `sort`: by column."""

    key: str
    cells: tuple[Span, ...]
    section: str = ""
    value: Any = None
    sort: tuple[Any, ...] = ()


class Table(Painted, can_focus=True):
    """Rows with a cursor. Items may change many times a second: they are drawn ten times a second at most."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "by(-1)", show=False),
        Binding("down,j", "by(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        def __init__(self, table: Table, item: Item) -> None:
            super().__init__()
            self.table = table
            self.item = item

        @property
        def control(self) -> Table:
            return self.table

    class Moved(Message):
        """The cursor stands on another item, or on none."""

        def __init__(self, table: Table, item: Item | None) -> None:
            super().__init__()
            self.table = table
            self.item = item

        @property
        def control(self) -> Table:
            return self.table

    def __init__(self, columns: Sequence[Column], *, empty: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._columns = list(columns)
        self._empty = empty
        self._all: list[Item] = []
        self._items: list[Item] = []
        self._places: list[int | str] = []  # what each row of the whole list shows: an item's index or a section
        self._cursor = ""
        self._top = 0
        self._dirty = False
        self._order: tuple[int, bool] | None = None
        self._filter: Callable[[Item], bool] | None = None
        self.marked: set[str] = set()

    # What is in it.

    def show(self, items: Sequence[Item], *, now: bool = False) -> None:
        self._all = list(items)
        self.changed(now=now or not self._items)

    def changed(self, *, now: bool = False) -> None:
        if now or not self._all:
            self._settle()
        elif not self._dirty:
            self._dirty = True
            self.set_timer(FRAME_S, self._settle)

    def narrow(self, admits: Callable[[Item], bool] | None) -> None:
        self._filter = admits
        self._settle()

    def order(self, column: int | None, *, backwards: bool = False) -> None:
        """Sort within sections by a column; None is the order in which the items came."""
        self._order = None if column is None else (column, backwards)
        self._settle()

    def say_empty(self, text: str) -> None:
        if text != self._empty:
            self._empty = text
            self._settle()

    @property
    def items(self) -> list[Item]:
        """Those shown, in their order."""
        return self._items

    @property
    def titles(self) -> list[str]:
        return [column.title for column in self._columns]

    @property
    def current(self) -> Item | None:
        index = self._index()
        return self._items[index] if index is not None else None

    def point_at(self, key: str) -> None:
        self._cursor = key
        self._settle()

    def toggle_mark(self) -> None:
        if (item := self.current) is not None:
            self.marked ^= {item.key}
            self.action_by(1)
            self._draw()

    # How it is laid out.

    def _settle(self) -> None:
        self._dirty = False
        items = [item for item in self._all if self._filter is None or self._filter(item)]
        if self._order is not None:
            column, backwards = self._order
            items.sort(key=lambda item: item.sort[column], reverse=backwards)
            sections = list(dict.fromkeys(item.section for item in self._all))
            items.sort(key=lambda item: sections.index(item.section))
        before, at = self._cursor, self._index() or 0
        self._items = items
        self._places = []
        section = ""
        for index, item in enumerate(items):
            if item.section != section:
                section = item.section
                self._places.append(section)
            self._places.append(index)
        self.marked &= {item.key for item in self._all}
        if items and self._index() is None:
            self._cursor = items[min(at, len(items) - 1)].key
        if not items:
            self._cursor = ""
        self._draw()
        if self._cursor != before:
            self.post_message(self.Moved(self, self.current))

    def _index(self) -> int | None:
        return next((index for index, item in enumerate(self._items) if item.key == self._cursor), None)

    def _draw(self) -> None:
        width, height = self.size
        if not width:
            return
        body = max(1, height - 1)
        index = self._index()
        row = next((at for at, place in enumerate(self._places) if place == index and index is not None), 0)
        if row < self._top:
            self._top = row
        elif row >= self._top + body:
            self._top = row - body + 1
        if self._top == 1 and isinstance(self._places[0], str):
            self._top = 0  # a section's first item shows the section too
        self._top = max(0, min(self._top, len(self._places) - body))
        in_sight = self._places[self._top : self._top + body]
        widths = self._widths(width, [self._items[place] for place in in_sight if isinstance(place, int)])
        rows: list[Row] = [self._line([("dim", column.title) for column in self._columns], widths, " ")]
        if not self._items:
            rows += [(("", "  "), *line) for line in wrap(self._empty, width - 4, "dim")]
        for place in in_sight:
            if isinstance(place, str):
                rows.append((("bold", fit(f"{place}", width)),))
                continue
            item = self._items[place]
            line = self._line(item.cells, widths, "●" if item.key in self.marked else " ")
            if place == index:
                line = tuple((f"{role} cursor".strip(), text) for role, text in line)
                line += (("cursor", " " * max(0, width - width_of(line))),)
            rows.append(line)
        self.repaint(rows)

    def _widths(self, width: int, items: list[Item]) -> list[int]:
        """Cells of each column; 0 for one that has no place on a narrow terminal."""
        wanted = []
        for number, column in enumerate(self._columns):
            longest = max((len(item.cells[number][1]) for item in items), default=0)
            wanted.append(min(column.most, max(longest, len(column.title))) if column.most else 16)
            if not longest and column.most and items:
                wanted[-1] = 0
        for number in sorted(range(len(wanted)), key=lambda one: -self._columns[one].rank):
            if sum(wanted) + 2 * sum(one > 0 for one in wanted) <= width or not self._columns[number].rank:
                break
            wanted[number] = 0
        spare = width - 1 - sum(wanted) - 2 * (sum(one > 0 for one in wanted) - 1)
        for number, column in enumerate(self._columns):
            if not column.most:
                wanted[number] = max(1, wanted[number] + spare)
        return wanted

    def _line(self, cells: Sequence[Span], widths: list[int], mark: str) -> Row:
        line: list[Span] = [("name", mark)]
        for (role, text), cells_wide, column in zip(cells, widths, self._columns, strict=True):
            if cells_wide:
                line += [(role, pad(text, cells_wide, right=column.right)), ("", "  ")]
        return tuple(line[:-1])

    # How one moves in it.

    def on_resize(self, _: Resize) -> None:
        self._draw()

    def action_by(self, rows: int) -> None:
        if self._items:
            index = max(0, min((self._index() or 0) + rows, len(self._items) - 1))
            before, self._cursor = self._cursor, self._items[index].key
            self._draw()
            if before != self._cursor:
                self.post_message(self.Moved(self, self.current))

    def action_page(self, pages: int) -> None:
        self.action_by(pages * max(1, self.size.height - 2))

    def action_first(self) -> None:
        self.action_by(-len(self._items))

    def action_last(self) -> None:
        self.action_by(len(self._items))

    def action_choose(self) -> None:
        if (item := self.current) is not None:
            self.post_message(self.Chosen(self, item))

    def on_mouse_down(self, event: MouseDown) -> None:
        """A click only moves the cursor: the one that brings a window to the front must do nothing."""
        at = self._top + event.y - 1
        if event.y > 0 and at < len(self._places) and isinstance(place := self._places[at], int):
            self.action_by(place - (self._index() or 0))

    def on_mouse_scroll_down(self, _: MouseScrollDown) -> None:
        self.action_by(3)

    def on_mouse_scroll_up(self, _: MouseScrollUp) -> None:
        self.action_by(-3)
