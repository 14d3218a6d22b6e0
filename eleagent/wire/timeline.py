"""What is a line of a session's timeline, whatever it tells of? What it can tell of is in `events`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eleagent.wire.payload import Payload, Provenance

ENDED: Final = "session.ended"
"""The type of every timeline's last event."""


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where reading a session's spool goes on after this event: at the frame at `offset`, past the first `out`, `err`
    and `seen` bytes of the streams, leaving out the first `skip` events of the line that begins there.
    """

    offset: int
    out: int
    err: int
    skip: int = 0
    seen: int = 0


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a timeline and of the events stream. `seq` counts 1, 2, 3, …; `ts` is RFC 3339 in UTC.

    `data` holds the fields of `events.TYPES[type]`; `payload()` decodes it.
    """

    seq: int
    ts: str
    type: str
    by: Provenance
    data: dict[str, Any]
    position: Position | None = None

    def payload(self) -> Payload:
        """The typed payload. Raises KeyError for a type of a newer daemon, msgspec.ValidationError for a broken one."""
        from eleagent.wire.events import TYPES

        return msgspec.convert(self.data, TYPES[self.type])


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the follow stream that is no event: it has no seq, is not kept, and may be dropped.

    `behind`: the watcher is so many events behind and reads on from disk, losing nothing. `preview`: text that the
    agent is still writing, drawn as provisional until the finished message arrives. `error`: the stream ends here.
    """

    notice: str
    text: str = ""
    behind: int = 0
    after: int = 0
