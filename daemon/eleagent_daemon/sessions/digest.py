"""What of the host's observations goes into the audit log, and when? A digest: the timeline has the whole of it.

Programs are gathered until a turn or the session ends, so that no flood of them fills the log. A daemon that dies loses
what it had gathered; the events are in the timeline all the same, whose head the log anchors.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from eleagent.wire.observations import Change, ClaimsCompared, FilesChanged, ObservationGap, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent_daemon.sessions.redaction import redacted

TOGETHER: Final = 500
TOGETHER_S: Final = 60.0
_LISTED: Final = 40
_ARGV_CHARS: Final = 4000


class Record(NamedTuple):
    """An audit record to be: its kind and details."""

    action: str
    details: Mapping[str, str]


class Digest:
    """Fed with a session's events as they have become durable. `seal` replaces secrets in arguments."""

    def __init__(self, *, seal: Callable[[str], str]) -> None:
        self._seal = seal
        self._programs: Counter[str] = Counter()
        self._argv: list[str] = []
        self._room = _ARGV_CHARS
        self._first = 0
        self._last = 0
        self._since = 0.0

    def take(self, payload: Payload, seq: int) -> Iterator[Record]:
        """What is to be recorded now."""
        match payload:
            case ProgramExecuted():
                self._ran(payload, seq)
                if self._programs.total() >= TOGETHER or time.monotonic() - self._since > TOGETHER_S:
                    yield from self.rest()
            case FilesChanged():
                yield from self.rest()
                if payload.changes or payload.unread:
                    yield Record("files.changed", _files(payload) | {"events": str(seq)})
            case ClaimsCompared():
                yield from self.rest()
                if payload.unseen:
                    details = {"reported": str(payload.reported), "unseen": ", ".join(payload.unseen)}
                    yield Record("claims.mismatch", details | {"events": str(seq)})
            case ObservationGap():
                missed = "" if payload.missed is None else str(payload.missed)
                details = {"begin": payload.begin, "end": payload.end, "what": payload.what, "missed": missed}
                yield Record("observation.gap", details | {"events": str(seq)})
            case _:
                pass

    def rest(self) -> Iterator[Record]:
        """What was gathered."""
        if not self._programs:
            return
        programs = ", ".join(f"{exe} x {count}" for exe, count in self._programs.most_common(_LISTED))
        more = len(self._programs) - _LISTED
        details = {
            "count": str(self._programs.total()),
            "programs": programs + (f" and {more} more" if more > 0 else ""),
            "argv": "\n".join(self._argv),
            "events": f"{self._first}-{self._last}",
        }
        self._programs, self._argv, self._room = Counter(), [], _ARGV_CHARS
        yield Record("program.executed", details)

    def _ran(self, execution: ProgramExecuted, seq: int) -> None:
        if not self._programs:
            self._first, self._since = seq, time.monotonic()
        self._last = seq
        self._programs[execution.exe] += execution.count
        if self._room > 0:
            line = shlex.join(redacted(execution.argv, self._seal))[: self._room]
            self._argv.append(line)
            self._room -= len(line) + 1


def _files(look: FilesChanged) -> dict[str, str]:
    counts = Counter(one.change for one in look.changes)
    found = {change.value: str(counts[change]) for change in Change if counts[change]}
    return found | {
        "unread": str(len(look.unread)) if look.unread else "",
        "sha256": hashlib.sha256(msgspec.json.encode(look.changes)).hexdigest(),
    }
