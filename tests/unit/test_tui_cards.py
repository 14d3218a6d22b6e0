"""Does the full-screen client draw what the host saw, each in rows of its own?"""

from __future__ import annotations

import msgspec
import pytest

from eleagent.wire.observations import Change, FileChange, FilesChanged, ObservationGap, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent.wire.timeline import Event
from eleagent_tui.cards import rows


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (
            ObservationGap(begin="a", end="b", what="the programs", missed=3),
            "nobody watched the programs from a to b, 3",
        ),
        (ProgramExecuted(at="", pid=1, ppid=0, exe="/bin/ls", argv=["ls", "\x1b[2J"]), "$ ls '\\x1b[2J'"),
        (FilesChanged(changes=[FileChange(path="/w/a", change=Change.CREATED, size_bytes=7)]), "A  /w/a  7 B"),
    ],
)
def test_cards_draw_observations(payload: Payload, shown: str) -> None:
    event = Event(seq=1, ts="2026-01-01T00:00:00Z", type=payload.type, by=payload.by, data=msgspec.to_builtins(payload))
    text = "\n".join("".join(text for _, text in row) for row in rows(event, 100))
    assert shown in text
