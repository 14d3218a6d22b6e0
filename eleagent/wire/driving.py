"""Who drives a session, which one does it go on from, and what happens when that changes?"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eleagent.wire.payload import Payload


class SessionHandover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`to` is who drives from now on; empty: whoever says something next."""

    to: str = ""


class SessionDriver(Payload, frozen=True):
    """Who drives from here on, empty for nobody. `lease` counts the changes: what was said under an older one is
    refused.
    """

    type: ClassVar[str] = "session.driver"
    driver: str
    lease: int
    by_user: str


class SessionResumed(Payload, frozen=True):
    """This session goes on with the HOME and files of an ended one, whose timeline ended at event `events`."""

    type: ClassVar[str] = "session.resumed"
    resumed_from: str
    events: int
    by_user: str


DRIVING: dict[str, type[Payload]] = {cls.type: cls for cls in (SessionDriver, SessionResumed)}
