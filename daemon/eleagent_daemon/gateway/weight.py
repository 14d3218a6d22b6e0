"""How much would it cost to parse a body? Its structure is counted, at C's speed and piece by piece.

A parser holds the interpreter while it works, and its time and memory go with the number of values, not with the bytes:
31 MiB of `[],[],…` take seconds and more than a gigabyte.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

STRUCTURE_LIMIT: Final = 400_000
"""Characters of structure outside of texts; the longest conversations have some ten thousand."""
DENSE_LIMIT_BYTES: Final = 6 << 20
"""Escapes and bytes beyond ASCII, which cost several times what others do: more than the longest context of a model can
hold. What makes a body larger is base64, which has neither."""
DEPTH_LIMIT: Final = 200
PIECE_BYTES: Final = 1 << 20
"""Between pieces other threads get their turn."""

_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},:"))
_NOT_DENSE: Final = bytes(set(range(128)) - set(b"\\"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def weigh(raw: bytes) -> int:
    """How many members its objects have, as written. Raises ValueError for more structure than a request can need.

    What is not JSON is weighed up to the first fault rightly, and no parser comes further.
    """
    structure = bytearray()
    in_text, at, dense = False, 0, 0
    while at < len(raw):
        piece = raw[at : at + PIECE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # an escape is not cut in two
            piece += raw[at + len(piece) : at + len(piece) + 1]
        at += len(piece)
        dense += len(piece.translate(None, _NOT_DENSE))
        if dense > DENSE_LIMIT_BYTES:
            raise ValueError(f"it has more than {DENSE_LIMIT_BYTES >> 20} MiB of escapes and characters beyond ASCII")
        plain = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        if plain.count(b'"') > STRUCTURE_LIMIT:
            _too_much()
        parts = plain.split(b'"')
        structure += b"".join(parts[in_text::2]).translate(None, _NOT_STRUCTURE)
        if len(structure) > STRUCTURE_LIMIT:
            _too_much()
        in_text ^= len(parts) % 2 == 0
    if max(accumulate(_STEPS.get(character, 0) for character in structure), default=0) > DEPTH_LIMIT:
        raise ValueError(f"it is nested deeper than {DEPTH_LIMIT}")
    return structure.count(b":")


def members(value: Any) -> int:
    """How many members the objects in a parsed `value` have: fewer than were written where a key was there twice."""
    count, open_ = 0, [value]
    while open_:
        one = open_.pop()
        if isinstance(one, dict):
            count += len(one)
            open_.extend(one.values())
        elif isinstance(one, list):
            open_.extend(one)
    return count


def _too_much() -> None:
    raise ValueError(f"it has more than {STRUCTURE_LIMIT} brackets, commas and colons")
