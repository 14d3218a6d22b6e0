"""How does text become rows of a terminal? Pure: roles and safe text in, rows of a width out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, get_character_cell_size

from eleagent import textsafe

Span = tuple[str, str]
"""A role (see paint.ROLES; empty for plain) and text that is safe to show."""

Row = tuple[Span, ...]
"""One row of cells."""


def row(*spans: Span | str) -> Row:
    return tuple(("", span) if isinstance(span, str) else span for span in spans)


def shown(text: str) -> str:
    """Text of others, of several lines: what commands a terminal is visible in it, tabs are spaces."""
    return textsafe.safe(text).expandtabs(4)


def shown_line(text: str) -> str:
    """As `shown`, on one line."""
    return textsafe.line(text)


def width_of(spans: Iterable[Span]) -> int:
    return sum(cell_len(text) for _, text in spans)


def breaks(text: str, width: int, *, words: bool = True) -> Iterator[tuple[int, int]]:
    """Where each row of one line begins and ends; a space at which it breaks is left out."""
    width = max(1, width)
    start, end = 0, len(text)
    plain = text.isascii()
    while True:
        stop = min(end, start + width) if plain else _fitting(text, start, width)
        if stop >= end:
            yield start, end
            return
        if words and (space := text.rfind(" ", start + 1, stop + 1)) > start:
            yield start, space
            start = space + 1
        else:
            yield start, stop
            start = stop


def _fitting(text: str, start: int, width: int) -> int:
    """Where a row that begins at `start` is full."""
    used = 0
    for at in range(start, len(text)):
        used += get_character_cell_size(text[at])
        if used > width:
            return max(at, start + 1)
    return len(text)


def wrap(text: str, width: int, role: str = "", *, words: bool = True) -> Iterator[Row]:
    """Safe text of several lines, wrapped."""
    for line in text.split("\n"):
        for start, stop in breaks(line, width, words=words):
            yield ((role, line[start:stop]),)


def wrap_spans(spans: Sequence[Span], width: int) -> Iterator[Row]:
    """One line of spans, wrapped at words."""
    for start, stop in breaks("".join(text for _, text in spans), width):
        yield tuple(_cut_out(spans, start, stop))


def _cut_out(spans: Sequence[Span], start: int, stop: int) -> Iterator[Span]:
    at = 0
    for role, text in spans:
        piece = text[max(0, start - at) : max(0, stop - at)]
        if piece:
            yield role, piece
        at += len(text)


def fit(text: str, width: int) -> str:
    """Cut to `width` cells, an ellipsis in the last."""
    if (len(text) if text.isascii() else cell_len(text)) <= width:
        return text
    return text[: _fitting(text, 0, max(0, width - 1))] + "…" if width > 0 else ""


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells."""
    text = fit(text, width)
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def indented(lines: Iterable[Row], first: Span, rest: str) -> Iterator[Row]:
    """Rows behind a lead of their own on the first, and another on the others."""
    for number, one in enumerate(lines):
        yield (first if number == 0 else ("", rest), *one)
