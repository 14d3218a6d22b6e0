"""What can be pressed where one is?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import ModalScreen

from eleagent_tui.place import Place, declared
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row, pad, wrap

MOVES = [
    ("↑ ↓ or k j", "a row up, down"),
    ("PgUp PgDn", "a page up, down"),
    ("Home End or g G", "to the first, to the last"),
]


class Help(ModalScreen[None]):
    """The keys of the place below, and everybody's."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Reader { width: 76; height: 90%; border: round $foreground; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss", "close", show=False)]

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def compose(self) -> ComposeResult:
        yield Reader(self._layout)

    def _layout(self, width: int) -> Sequence[Row]:
        return list(self._rows(width))

    def _rows(self, width: int) -> Iterator[Row]:
        place = self._place
        yield (("bold", place.TITLE or ""),)
        yield from wrap((type(place).__doc__ or "").replace("\n    ", "\n").strip(), width, "dim")
        yield ()
        nodes: list[DOMNode] = [place, *([place.focused] if place.focused is not None else [])]
        for node in nodes:
            for binding in declared(type(node).BINDINGS):
                if binding.description:
                    yield self._key(binding)
        for keys, what in MOVES:
            yield (("name", pad(keys, 18)), ("", what))
        yield ()
        yield (("bold", "Everywhere"),)
        for binding in declared(type(self.app).BINDINGS):
            yield self._key(binding)

    def _key(self, binding: Binding) -> Row:
        keys = binding.key_display or binding.key.replace(",", " ")
        return (("name", pad(keys, 18)), ("", binding.description))
