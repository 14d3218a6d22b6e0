"""What is the agent writing just now? Finished paragraphs are laid out once, the last one each time."""

from __future__ import annotations

from typing import Final

from eleagent_tui.rows import Row, indented, shown, wrap

KEPT_CHARS: Final = 20_000
"""Of words that are only provisional, the last are enough."""


class Draft:
    def __init__(self) -> None:
        self._text = ""
        self._done: list[Row] = []
        self._width = 0

    def __bool__(self) -> bool:
        return bool(self._text or self._done)

    def add(self, text: str) -> None:
        self._text += text

    def clear(self) -> None:
        self._text = ""
        self._done = []

    def rows(self, width: int) -> list[Row]:
        if width != self._width:
            self._width, self._done = width, []
        whole, newline, rest = self._text.rpartition("\n")
        if newline:
            self._done += wrap(shown(whole), width - 2, "think")
            self._done = self._done[-KEPT_CHARS // 40 :]
            self._text = rest
        last = list(wrap(shown(self._text), width - 2, "think"))
        return list(indented([*self._done, *last], ("think", "✎ "), "  "))
