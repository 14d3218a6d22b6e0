"""How is a text of some rows read: a report, help, a preview, a request?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.message import Message

from eleagent_tui.paint import Painted
from eleagent_tui.rows import Row

Layout = Callable[[int], Sequence[Row]]
"""Rows for a width."""


class Reader(Painted, can_focus=True):
    """A text that is laid out for the width it gets, and scrolled by rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "by(-1)", show=False),
        Binding("down,j", "by(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", show=False),
        Binding("home,g", "top", show=False),
        Binding("end,G", "end", show=False),
    ]

    class Scrolled(Message):
        """Other rows are in sight."""

    def __init__(self, layout: Layout | None = None, *, id: str | None = None) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id)
        self._layout = layout or (lambda _: ())
        self._rows: Sequence[Row] = ()
        self._top = 0

    def read(self, layout: Layout, *, from_top: bool = True) -> None:
        """Another text, or the same one changed."""
        self._layout = layout
        if from_top:
            self._top = 0
        self._lay_out()

    @property
    def at_end(self) -> bool:
        """Whether the last row is, or was laid out to be, in sight."""
        return self._top + self.size.height >= len(self._rows)

    def on_resize(self, _: Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        if self.size.width:
            self._rows = self._layout(self.size.width)
            self._show()

    def _show(self) -> None:
        height = self.size.height
        self._top = max(0, min(self._top, len(self._rows) - height))
        self.repaint(list(self._rows[self._top : self._top + height]))
        self.post_message(self.Scrolled())

    def action_by(self, rows: int) -> None:
        self._top += rows
        self._show()

    def action_page(self, pages: int) -> None:
        self.action_by(pages * max(1, self.size.height - 1))

    def action_top(self) -> None:
        self._top = 0
        self._show()

    def action_end(self) -> None:
        self._top = len(self._rows)
        self._show()
