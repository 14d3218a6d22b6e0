"""How is anything written to stdout and stderr?

The one place that writes colours. All text of others goes through it, and a terminal gets printable text only.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum, StrEnum
from typing import Final, TextIO

from eleagent import textsafe


class To(Enum):
    """OUT: what was asked for. ERR: what is said about it."""

    OUT = 1
    ERR = 2


class Style(StrEnum):
    """SGR parameters."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    GOOD = "32"
    WARN = "33"
    BAD = "31"
    NAME = "36"


Span = tuple[Style, str]

SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
TICK_S: Final = 0.25
DEFAULT_COLUMNS: Final = 100
NARROWEST: Final = 8
"""Cells that a table's column keeps on the narrowest terminal."""


class Screen:
    """Two streams, and on a terminal a last line that is redrawn while something is awaited.

    `color` asks for colours; a stream that is no terminal gets none.
    """

    def __init__(self, *, out: TextIO, err: TextIO, color: bool) -> None:
        self._streams = {To.OUT: out, To.ERR: err}
        self._terminal = {to: stream.isatty() for to, stream in self._streams.items()}
        self._color = {to: color and terminal for to, terminal in self._terminal.items()}
        self._fresh = dict.fromkeys(To, True)
        self._lock = threading.RLock()
        self._status: str | None = None
        self._drawn = 0
        self._pinned: str | None = None
        self._ticker: threading.Thread | None = None
        self._done = threading.Event()

    def is_terminal(self, to: To) -> bool:
        return self._terminal[to]

    @property
    def interactive(self) -> bool:
        """Whether a person looks at both streams."""
        return all(self._terminal.values())

    @property
    def columns(self) -> int:
        try:
            return os.get_terminal_size(self._streams[To.ERR].fileno()).columns or DEFAULT_COLUMNS
        except OSError:
            return DEFAULT_COLUMNS

    def line(self, *spans: Span | str, to: To = To.OUT, cut: bool = False) -> None:
        """One line. A newline within a span is shown as `\\n`, any other control character as its escape.

        `cut`: a glimpse that takes one line of a terminal, however long it is.
        """
        parts = [(Style.PLAIN, span) if isinstance(span, str) else span for span in spans]
        if cut and self._terminal[to]:
            parts = fit(parts, self.columns)
        text = "".join(self._paint(textsafe.safe(text).replace("\n", "\\n"), style, to) for style, text in parts)
        self._write(to, text + "\n")

    def note(self, text: str, style: Style = Style.DIM) -> None:
        """One line about what happens, on stderr."""
        self.line((style, text), to=To.ERR)

    def prompt(self, text: str) -> None:
        """A question on stderr whose answer is typed behind it."""
        self._write(To.ERR, self._paint(text, Style.BOLD, To.ERR))
        self._fresh = dict.fromkeys(To, True)  # the answer's own newline

    def text(self, text: str, to: To = To.OUT) -> None:
        """A program's own output: as it is, unless a terminal would read it."""
        self._write(to, textsafe.safe(text) if self._terminal[to] else text, own=False)

    def data(self, piece: bytes) -> None:
        """Bytes on stdout: as they are, unless a terminal would read them."""
        if self._terminal[To.OUT]:
            self.text(textsafe.safe(piece))
        else:
            stream = self._streams[To.OUT]
            stream.flush()
            view = memoryview(piece)
            while view:
                view = view[os.write(stream.fileno(), view) :]

    def document(self, json: str) -> None:
        """A JSON document on a line of its own."""
        self._write(To.OUT, textsafe.json_line(json) + "\n")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Span | str]], to: To = To.OUT) -> None:
        """Columns as wide as their widest cell; on a terminal the widest give way until all fit."""
        cells = [[(Style.PLAIN, cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        shown = [
            [(style, textsafe.line(text)) for style, text in row]
            for row in [[(Style.DIM, name) for name in head], *cells]
        ]
        widths = [max(width(text) for _, text in column) for column in zip(*shown, strict=True)]
        room = self.columns - 2 * (len(widths) - 1) if self._terminal[to] else sum(widths)
        while sum(widths) > room and max(widths) > NARROWEST:
            widths[widths.index(max(widths))] -= 1
        for row in shown:
            fitted = [(style, shorten(text, size)) for (style, text), size in zip(row, widths, strict=True)]
            *left, last = fitted
            padded = [
                (style, text + " " * (size - width(text) + 2))
                for (style, text), size in zip(left, widths, strict=False)
            ]
            self.line(*padded, last, to=to)

    def pin(self, text: str | None) -> None:
        """Keep `text`, which a person is typing, below all that is written, its end in view; None ends it."""
        with self._lock:
            self._erase()
            self._pinned = text
            self._draw_pinned()

    def _draw_pinned(self) -> None:
        """The cursor stays on its line: what is written next takes it away first."""
        if self._pinned is None or not all(self._fresh.values()):
            return
        shown = textsafe.line(self._pinned)
        while width(shown) > self.columns - 3:
            shown = shown[max(1, (len(shown) - self.columns) // 2) :]
        self._streams[To.ERR].write(f"\r\x1b[K{self._paint('> ', Style.BOLD, To.ERR)}{shown}")
        self._streams[To.ERR].flush()
        self._drawn = 2 + width(shown)

    def status(self, text: str | None) -> None:
        """Show `text` beside a spinner until more is said or None is given. Nothing where no person looks, or types."""
        if not self.interactive or self._pinned is not None:
            return
        with self._lock:
            self._status = text
            if text is None:
                self._erase()
            elif self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                self._ticker.start()

    def close(self) -> None:
        """Take the status line away."""
        self.status(None)
        self._done.set()
        if self._ticker:
            self._ticker.join()

    def _paint(self, text: str, style: Style, to: To) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self._color[to] else text

    def _write(self, to: To, text: str, *, own: bool = True) -> None:
        with self._lock:
            self._erase()
            stream = self._streams[to]
            if own and not self._fresh[to] and self._terminal[to]:
                stream.write("\n")
            stream.write(text)
            stream.flush()
            fresh = text.endswith("\n") or (not text and self._fresh[to])
            # On a terminal both streams share the cursor.
            self._fresh = dict.fromkeys(To, fresh) if self.interactive else self._fresh | {to: fresh}
            self._draw_pinned()

    def _tick(self) -> None:
        frame = 0
        while not self._done.wait(TICK_S):
            with self._lock:
                if self._status is not None and self._fresh[To.ERR]:
                    frame += 1
                    text = shorten(textsafe.line(self._status), self.columns - 3)
                    self._streams[To.ERR].write(f"\r\x1b[K{SPINNER[frame % len(SPINNER)]} {text}")
                    self._streams[To.ERR].flush()
                    self._drawn = 2 + width(text)

    def _erase(self) -> None:
        """The last line, also where a terminal that became narrower has broken it into several."""
        if self._drawn:
            above = (self._drawn - 1) // self.columns
            self._streams[To.ERR].write(f"\x1b[{above}A\r\x1b[J" if above else "\r\x1b[K")
            self._streams[To.ERR].flush()
            self._drawn = 0


def width(text: str) -> int:
    """Cells that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shorten(text: str, cells: int) -> str:
    """`text` in at most `cells` cells, with … where something is left out."""
    if width(text) <= cells:
        return text
    kept, room = [], cells - 1
    for char in text:
        room -= width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + "…"


def fit(spans: Sequence[Span], cells: int) -> list[Span]:
    """As much of `spans`, made printable, as `cells` cells show."""
    kept: list[Span] = []
    for style, text in spans:
        plain = textsafe.line(text.expandtabs())
        kept.append((style, shorten(plain, cells)))
        cells -= width(plain)
        if cells <= 0:
            break
    return kept
