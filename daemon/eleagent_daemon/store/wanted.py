"""Which events of a timeline does somebody look for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eleagent.wire import events as ev
from eleagent.wire.observations import ObservationGap
from eleagent.wire.timeline import Event

_TROUBLE: Final[dict[str, tuple[str, object] | None]] = {
    ev.AgentToolResult.type: ("is_error", True),
    ev.AgentTurnFinished.type: ("is_error", True),
    ev.EgressModel.type: ("allowed", False),
    ev.EgressTunnel.type: ("allowed", False),
    ev.SecurityFinding.type: None,
    ev.SandboxViolation.type: None,
    ev.OutputGap.type: None,
    ObservationGap.type: None,
}
"""What trouble is: events of these types, where a member is named with that value."""

_decode = msgspec.json.Decoder(Event).decode


class Wanted:
    """Events of one of `types` (all, when empty) with `text` in a value; `trouble`: only what went wrong. A text
    without capitals finds them too.
    """

    def __init__(self, *, text: str = "", types: frozenset[str] = frozenset(), trouble: bool = False) -> None:
        self._text = text
        self._types = types
        self._trouble = trouble
        self._any_case = text == text.lower()
        # As JSON has it in the file, so that most lines need no decoding.
        self._needle = msgspec.json.encode(text)[1:-1]

    def among(self, data: bytes) -> list[int]:
        """Blocking. The seqs of those in these whole lines, in order."""
        return [event.seq for line in self._candidates(data) if self._is(event := _decode(line))]

    def _candidates(self, data: bytes) -> Iterator[bytes]:
        if not self._text:
            marks = [
                b'"type":"%b"' % kind.encode()
                for kind in self._types or ((*_TROUBLE, ev.SessionEnded.type) if self._trouble else ())
            ]
            yield from (line for line in data.splitlines() if not marks or any(mark in line for mark in marks))
            return
        where = data.lower() if self._any_case else data
        at = where.find(self._needle)
        while at >= 0:
            begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            yield data[begin:end]
            at = where.find(self._needle, end)

    def _is(self, event: Event) -> bool:
        if self._types and event.type not in self._types:
            return False
        if self._trouble and not _is_trouble(event):
            return False
        texts = _texts(event.data)
        return not self._text or any(self._text in (one.lower() if self._any_case else one) for one in texts)


def _is_trouble(event: Event) -> bool:
    if event.type == ev.SessionEnded.type:
        return event.data.get("state") != "succeeded"
    if event.type not in _TROUBLE:
        return False
    member = _TROUBLE[event.type]
    return member is None or event.data.get(member[0]) == member[1]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
