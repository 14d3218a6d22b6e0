"""Which checkpoints does somebody hold? Signed notes, in whichever way they came: file, webhook, journal, a client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eleagent.errors import BadRequest
from eleagent.transparency.logfiles import split_notes

_LOGGED = re.compile(r"audit checkpoint (\S+\\n\d+\\n\S+\\n\\n.*)")
"""As the journal and syslog have them: on one line, whatever stands before it."""


class _Remembered(msgspec.Struct):
    """What a client remembers."""

    note: str


def read_held(path: Path) -> list[str]:
    """Blocking. The notes in a file. Raises BadRequest where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise BadRequest(f"--checkpoint {path}: it can't be read: {err}") from None
    if not (found := list(_notes(text))):
        raise BadRequest(f"--checkpoint {path}: there is no signed checkpoint in it")
    return found


def _notes(text: str) -> Iterator[str]:
    if text.startswith("{"):
        try:
            note = msgspec.json.decode(text, type=_Remembered).note
        except msgspec.DecodeError:
            note = ""
        yield from split_notes(note.splitlines(keepends=True))
    elif logged := _LOGGED.findall(text):
        yield from (line.replace("\\n", "\n") + "\n" for line in logged)
    else:
        yield from split_notes(text.lstrip("\n").splitlines(keepends=True))
