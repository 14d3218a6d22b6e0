"""How is a line of text asked for in the last row?"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from eleagent_tui.field import Field
from eleagent_tui.paint import Painted
from eleagent_tui.rows import shown_line


class Label(Painted):
    DEFAULT_CSS = "Label { width: auto; height: 1; }"


class Asking(Widget):
    """A label and a field; `done` gets the text, or None for Escape."""

    DEFAULT_CSS = """
    Asking { height: 1; width: 1fr; layout: horizontal; }
    Asking > Field { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "give_up", show=False)]

    def __init__(
        self,
        label: str,
        text: str = "",
        *,
        secret: bool = False,
        changed: Callable[[str], object] | None = None,
        done: Callable[[str | None], object],
    ) -> None:
        super().__init__(markup=False)
        self._label = shown_line(label) + " "
        self.input = Field(text, secret=secret)
        self._changed = changed
        self._done = done

    def compose(self) -> ComposeResult:
        label = Label()
        label.styles.width = cell_len(self._label)
        label.styles.max_width = "75%"
        label.painted = [(("warn", self._label),)]
        yield label
        yield self.input

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._changed is not None:
            self._changed(event.value)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._done(event.value)

    def action_give_up(self) -> None:
        self._done(None)
