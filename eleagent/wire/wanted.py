"""Which events of a timeline does somebody look for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from eleagent.wire import events as ev
from eleagent.wire.observations import ObservationGap
from eleagent.wire.timeline import Event

TROUBLE: Final[dict[str, tuple[str, object] | None]] = {
    ev.AgentToolResult.type: ("is_error", True),
    ev.AgentTurnFinished.type: ("is_error", True),
    ev.EgressModel.type: ("allowed", False),
    ev.EgressTunnel.type: ("allowed", False),
    ev.SecurityFinding.type: None,
    ev.SandboxViolation.type: None,
    ev.OutputGap.type: None,
    ObservationGap.type: None,
}
"""What trouble is: events of these types, where a member is named with that value; and the end of a session that did
not succeed."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one of `types` (all, when empty) with `text` in a value; `trouble`: only what went wrong. A text
    without capitals finds them too.
    """

    text: str = ""
    types: frozenset[str] = frozenset()
    trouble: bool = False

    def __bool__(self) -> bool:
        return bool(self.text or self.types or self.trouble)

    @property
    def any_case(self) -> bool:
        return self.text == self.text.lower()

    def fits(self, event: Event) -> bool:
        if self.types and event.type not in self.types:
            return False
        if self.trouble and not _is_trouble(event):
            return False
        if not self.text:
            return True
        return any(self.text in (one.lower() if self.any_case else one) for one in _texts(event.data))


def _is_trouble(event: Event) -> bool:
    if event.type == ev.SessionEnded.type:
        return event.data.get("state") != "succeeded"
    if event.type not in TROUBLE:
        return False
    member = TROUBLE[event.type]
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
