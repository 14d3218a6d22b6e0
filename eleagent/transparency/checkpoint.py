"""What is a checkpoint, and the note that carries it (c2sp.org/tlog-checkpoint)? Whose it is, `note` can say."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from eleagent.errors import TamperFound
from eleagent.transparency.merkle import HASH_BYTES

MARK: Final = "— "
ID_BYTES: Final = 4
_NOTE_BYTES: Final = 1 << 16
"""More is no checkpoint of anybody's."""


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log is, at one moment: the root over its first `size` records."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint in a note's text. Raises TamperFound for what is none."""
        lines = text.split("\n")
        try:
            found = cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True))
        except (IndexError, ValueError):
            raise TamperFound("this is no checkpoint: it lacks an origin, a size or a root") from None
        if not found.origin or found.size < 0 or len(found.root) != HASH_BYTES or found.text != text:
            raise TamperFound(f"this is no checkpoint in its proper form: {text[:200]!r}")
        return found


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and its signatures by name. Raises TamperFound for what is no note."""
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or len(note) > _NOTE_BYTES:
        raise TamperFound("this is no signed note: a text, an empty line and signatures")
    found = []
    for line in lines[:-1].split("\n"):
        name, _, encoded = line.removeprefix(MARK).partition(" ")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            signature = b""
        if not name or len(signature) <= ID_BYTES or line != f"{MARK}{name} {base64.b64encode(signature).decode()}":
            raise TamperFound(f"this is no signature of a note: {line[:100]!r}")
        found.append((name, signature))
    return text + "\n", found
