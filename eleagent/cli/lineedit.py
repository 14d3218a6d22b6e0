"""What do keys mean on a line that a person types while others write above it? Bytes in, lines out; no terminal."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

LIMIT: Final = 256 * 1024
"""Characters of one line; more is not taken."""
PASTE_ON: Final = "\x1b[?2004h"
PASTE_OFF: Final = "\x1b[?2004l"

_PASTE_BEGINS: Final = "[200~"
_PASTE_ENDS: Final = "\x1b[201~"


class Key(Enum):
    """DETACH: ctrl-p ctrl-q, or ctrl-d on an empty line."""

    DETACH = 1


@dataclass
class LineEditor:
    """`text` is what stands on the line. A pasted newline is part of it; Enter ends it."""

    text: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _escape: str | None = None
    _pasting: bool = False
    _tail: str = ""
    _ctrl_p: bool = False

    def feed(self, data: bytes) -> list[str | Key]:
        """The lines that are complete now."""
        said: list[str | Key] = []
        for char in self._decoder.decode(data):
            if self._pasting:
                self._paste(char)
            elif self._escape is not None:
                self._sequence(char)
            elif (meant := self._key(char)) is not None:
                said.append(meant)
        return said

    def _key(self, char: str) -> str | Key | None:
        before, self._ctrl_p = self._ctrl_p, char == "\x10"
        match char:
            case "\x11" if before:
                return Key.DETACH
            case "\x04" if not self.text:
                return Key.DETACH
            case "\r" | "\n":
                line, self.text = self.text, ""
                return line
            case "\x7f" | "\b":
                self.text = self.text[:-1]
            case "\x15":
                self.text = ""
            case "\x17":
                self.text = self.text.rstrip().rpartition(" ")[0]
                self.text += " " if self.text else ""
            case "\x1b":
                self._escape = ""
            case "\t":
                self._add("\t")
            case _ if char.isprintable():
                self._add(char)
        return None

    def _sequence(self, char: str) -> None:
        """Arrows and other keys mean nothing here; a paste begins with a sequence of its own."""
        self._escape = (self._escape or "") + char
        if self._escape == _PASTE_BEGINS:
            self._pasting, self._tail, self._escape = True, "", None
        elif self._escape != "[" and self._escape != "O" and (self._escape[0] not in "[O" or "@" <= char <= "~"):
            self._escape = None

    def _paste(self, char: str) -> None:
        self._tail = (self._tail + char)[-len(_PASTE_ENDS) :]
        self._add("\n" if char == "\r" else char)
        if self._tail == _PASTE_ENDS:
            self._pasting = False
            self.text = self.text.removesuffix(_PASTE_ENDS)

    def _add(self, char: str) -> None:
        if len(self.text) < LIMIT:
            self.text += char
