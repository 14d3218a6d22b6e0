"""Which turn wrote each artefact, and when? As the host saw the files change, not as the agent tells it."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from eleagent.cli.views import payload_of
from eleagent.operations.sessions import SESSION_FIND
from eleagent.wire.events import InputAccepted
from eleagent.wire.observations import Change, FilesChanged
from eleagent.wire.sessions import Found
from eleagent_tui.link import Link

FOLDER: Final = "/artefacts/"
MOST: Final = 200
"""Looks at the files that are read, the newest first; what was written before them all has no turn shown."""


class Written(NamedTuple):
    """`turn` counts what was said to the agent, from 1; 0 for a program, to which nothing is said."""

    turn: int
    at: str


async def written_by(link: Link, key: str) -> dict[str, Written]:
    """By path below the artefacts' folder."""
    said = sorted(await _find(link, key, InputAccepted.type))
    written: dict[str, Written] = {}
    for seq in await _find(link, key, FilesChanged.type):
        for event in await link.events(key, after=seq - 1, limit=1):
            changed = payload_of(event)
            if not isinstance(changed, FilesChanged):
                continue
            for one in changed.changes:
                if one.path.startswith(FOLDER) and one.change is not Change.DELETED:
                    written.setdefault(one.path.removeprefix(FOLDER), Written(bisect_right(said, seq), event.ts))
    return written


async def _find(link: Link, key: str, kind: str) -> list[int]:
    """Where events of this type are, the newest first."""
    seqs: list[int] = []
    before = 1 << 53
    while len(seqs) < MOST:
        query = {"types": kind, "before": before, "limit": MOST}
        found: Found = await link.call(SESSION_FIND, query=query, key=key)
        seqs += found.seqs
        if not found.seqs and found.goes_on_at is None:
            break
        before = found.goes_on_at or found.seqs[-1]
    return seqs[:MOST]
