"""Where in the bytes of a timeline are the events that somebody looks for?

Most lines need no decoding: what is looked for is not in them, as JSON has it in the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from eleagent.wire import events as ev
from eleagent.wire.timeline import Event
from eleagent.wire.wanted import TROUBLE, Wanted

_decode = msgspec.json.Decoder(Event).decode


def seqs_among(data: bytes, wanted: Wanted) -> list[int]:
    """Blocking. The seqs of those in these whole lines, in order."""
    return [event.seq for line in _candidates(data, wanted) if wanted.fits(event := _decode(line))]


def lines_among(data: bytes, wanted: Wanted) -> bytes:
    """Blocking. Those of these whole lines."""
    return b"".join(line + b"\n" for line in _candidates(data, wanted) if wanted.fits(_decode(line)))


def _candidates(data: bytes, wanted: Wanted) -> Iterator[bytes]:
    if not wanted.text:
        kinds = wanted.types or ((*TROUBLE, ev.SessionEnded.type) if wanted.trouble else ())
        marks = [b'"type":"%b"' % kind.encode() for kind in kinds]
        yield from (line for line in data.splitlines() if not marks or any(mark in line for mark in marks))
        return
    needle = msgspec.json.encode(wanted.text)[1:-1]
    where = data.lower() if wanted.any_case else data
    at = where.find(needle)
    while at >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        yield data[begin:end]
        at = where.find(needle, end)
