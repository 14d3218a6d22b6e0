"""What of what the terminal sends is a key, and what was pasted?

Textual's parser takes ESC in a paste for the beginning of a key: what follows it is typed instead of pasted, where a
letter may be a command, and where the end of a paste comes in two pieces the paste goes on for ever. So here a paste is
cut out before it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver
from textual.message import Message

START: Final = "\x1b[200~"
END: Final = "\x1b[201~"
LEAVE: Final = "\x03"
"""ctrl+c as a key of its own: it leads out of a paste whose end never comes."""


class Keyboard(XTermParser):
    """ESC is no part of what was pasted, as most terminals have it."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._matched = 0  # how much of START the last characters were
        self._pasted: str | None = None  # what was pasted so far, in a paste

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            yield from super().feed(data)
        for piece in self._pieces(data):
            yield from super().feed(piece)

    def _pieces(self, data: str) -> Iterator[str]:
        """What the parser may see: keys as they come, a paste when it is whole."""
        while data:
            if self._pasted is None:
                keys, data = self._up_to_paste(data)
                yield keys
                continue
            if data == LEAVE:
                data, self._pasted = END + LEAVE, ""
            text, end, data = (self._pasted + data).partition(END)
            if not end:
                self._pasted = text
                return
            self._pasted = None
            yield text.replace("\x1b", "") + END

    def _up_to_paste(self, data: str) -> tuple[str, str]:
        """Where a paste begins the keys before it end, with START."""
        for at, character in enumerate(data, 1):
            self._matched = self._matched + 1 if character == START[self._matched] else int(character == START[0])
            if self._matched == len(START):
                self._matched, self._pasted = 0, ""
                return data[:at], data[at:]
        return data, ""


class Terminal(linux_driver.LinuxDriver):
    """Textual's driver, with this parser instead of its own."""

    def run_input_thread(self) -> None:
        linux_driver.XTermParser = Keyboard  # type: ignore[attr-defined]  # it makes its parser in there
        super().run_input_thread()
