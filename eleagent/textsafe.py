"""How does text from outside reach a terminal without commanding it?

An allow-list, not a list of known sequences: what is not printable is shown as a visible escape. No control character
of an agent, a file name or an error message is ever written, whatever terminal reads it.
"""

from __future__ import annotations

_INVISIBLE = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810)})
_TAGS = range(0xE0000, 0xE1000)
"""Both are printable by category and drawn as nothing: joiners, fillers, tag characters, selectors that can smuggle
text."""


def _keeps(char: str) -> bool:
    from unicodedata import category  # most text needs none of it

    return (char.isprintable() and ord(char) not in _INVISIBLE and ord(char) not in _TAGS) or category(char) == "Zs"


def _visible(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


class _Text(dict[int, str]):
    """A table for str.translate that judges each character once."""

    def __missing__(self, code: int) -> str:
        self[code] = answer = chr(code) if _keeps(chr(code)) else _visible(code)
        return answer


class _Json(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = answer = chr(code) if _keeps(chr(code)) else _json_escape(code)
        return answer


_TEXT = _Text({0x0A: "\n", 0x09: "\t"})
_LINE = _Text({0x0A: "\\n", 0x09: "\\t"})
_JSON = _Json()


def safe(text: str | bytes) -> str:
    """`text` with newlines, tabs and printable characters kept and all else as `\\x1b`, `\\u202e`, `\\U000e0041`.

    Bytes are read as UTF-8 with U+FFFD for what is none. Idempotent.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return text if text.isascii() and text.isprintable() else text.translate(_TEXT)


def line(text: str | bytes) -> str:
    """As `safe`, for what must stay on one line: newlines and tabs are shown as `\\n` and `\\t` too."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return text if text.isascii() and text.isprintable() else text.translate(_LINE)


def json_line(document: str) -> str:
    """A JSON document on one line that means the same and is safe to show: unprintable characters as `\\uXXXX`."""
    return document if document.isascii() and document.isprintable() else document.translate(_JSON)
