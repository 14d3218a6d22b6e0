"""Which turn wrote each artefact, and when? As the host saw the files change, not as the agent tells it."""

from __future__ import annotations

from typing import Final, NamedTuple

from eleagent.cli.views import payload_of
from eleagent.wire.events import InputAccepted
from eleagent.wire.observations import Change, FilesChanged
from eleagent_tui.link import Link

FOLDER: Final = "/artefacts/"


class Written(NamedTuple):
    """`turn` counts what was said to the agent, from 1; 0 for a program, to which nothing is said."""

    turn: int
    at: str


async def written_by(link: Link, key: str) -> dict[str, Written]:
    """By path below the artefacts' folder."""
    turn = 0
    written: dict[str, Written] = {}
    async for event in link.events_of(key, InputAccepted.type, FilesChanged.type):
        changed = payload_of(event)
        if not isinstance(changed, FilesChanged):
            turn += 1
            continue
        for one in changed.changes:
            for gone in (one.path if one.change is Change.DELETED else "", one.before_path):
                written.pop(gone.removeprefix(FOLDER), None)
            if one.path.startswith(FOLDER) and one.change is not Change.DELETED:
                written[one.path.removeprefix(FOLDER)] = Written(turn, event.ts)
    return written
