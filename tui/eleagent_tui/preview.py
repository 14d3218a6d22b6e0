"""How does a file look in rows, whatever it is? Pure; nothing in it is run, fetched or drawn as more than text."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from eleagent.cli.amounts import human_size
from eleagent_tui import markdown
from eleagent_tui.rows import Row, fit, pad, shown, shown_line, wrap

LIMIT_BYTES: Final = 256 * 1024
"""Of a file, what is read to preview it."""

TABLE_ROWS: Final = 200
HEX_BYTES: Final = 4096
COLUMN_MOST: Final = 32


def rows(name: str, data: bytes, size_bytes: int, width: int) -> list[Row]:
    """`data` is how the file begins. Its kind is told by what it holds, and among texts by its name."""
    laid = list(_rows(name.lower().rpartition(".")[2], data, len(data) < size_bytes, max(20, width)))
    if len(data) < size_bytes:
        laid.append(
            (("dim", f"… the first {human_size(len(data))} of {human_size(size_bytes)}; v opens it, w saves it"),)
        )
    return laid


def _rows(kind: str, data: bytes, partial: bool, width: int) -> Iterator[Row]:
    if not data:
        yield (("dim", "empty"),)
    elif facts := _image(data):
        yield (("", facts),)
    elif (text := _text(data, partial)) is None:
        yield from _hex(data[:HEX_BYTES], width)
    elif kind in ("csv", "tsv"):
        yield from _table(text, "\t" if kind == "tsv" else ",", width)
    elif kind in ("md", "markdown"):
        yield from markdown.rows(text, width)
    elif kind == "json" and not partial:
        yield from _json(text, width)
    else:
        yield from wrap(shown(text), width, words=False)


def _text(data: bytes, partial: bool) -> str | None:
    """None where it is none: bytes that are not UTF-8, or NUL."""
    if b"\0" in data:
        return None
    for cut in range(4 if partial else 1):  # a character may have been cut through
        try:
            return data[: len(data) - cut].decode()
        except UnicodeDecodeError:
            continue
    return None


def _table(text: str, delimiter: str, width: int) -> Iterator[Row]:
    table: list[list[str]] = []
    try:
        for line in csv.reader(io.StringIO(text), delimiter=delimiter):
            table.append([shown_line(cell) for cell in line])
            if len(table) > TABLE_ROWS:
                break
    except csv.Error:
        yield from wrap(shown(text), width, words=False)
        return
    columns = max(map(len, table), default=0)
    widths = [
        min(COLUMN_MOST, max(len(line[number]) for line in table if number < len(line))) for number in range(columns)
    ]
    numeric = [all(_is_number(line[n]) for line in table[1:] if n < len(line)) for n in range(columns)]
    for number, line in enumerate(table[:TABLE_ROWS]):
        cells = (pad(cell, wide, right=right) for cell, wide, right in zip(line, widths, numeric, strict=False))
        yield (("bold" if number == 0 else "", fit("  ".join(cells), width)),)
    if len(table) > TABLE_ROWS:
        yield (("dim", f"… the first {TABLE_ROWS} rows"),)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _json(text: str, width: int) -> Iterator[Row]:
    try:
        text = msgspec.json.format(text.encode(), indent=2).decode()
    except msgspec.DecodeError:
        yield (("warn", "this is not valid JSON"),)
    yield from wrap(shown(text), width, words=False)


def _hex(data: bytes, width: int) -> Iterator[Row]:
    each = 16 if width >= 76 else 8
    for at in range(0, len(data), each):
        part = data[at : at + each]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in part)
        yield (("dim", f"{at:08x}  "), ("", f"{part.hex(' '):<{each * 3}} "), ("name", text))


def _image(data: bytes) -> str:
    """What an image is; empty for what is none."""
    size: Sequence[int] = ()
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        kind, size = "PNG image", struct.unpack(">II", data[16:24])
    elif data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        kind, size = "GIF image", struct.unpack("<HH", data[6:10])
    elif data.startswith(b"\xff\xd8\xff"):
        kind, size = "JPEG image", _jpeg_size(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "WebP image"
    elif data.startswith(b"%PDF-"):
        kind = "PDF document"
    else:
        return ""
    return kind + (f", {size[0]} by {size[1]} pixels" if size else "") + ": w saves it"


def _jpeg_size(data: bytes) -> tuple[int, ...]:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return ()
