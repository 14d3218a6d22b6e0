"""Who read what a session said or made, though it is neither theirs nor shared with them? Its owner sees it with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from eleagent.wire.sessions import Session, View
from eleagent_daemon.domain.access import Owned
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.store.registry import Registry

LIMIT: Final = 100
"""Of one session, the newest; the audit log has them all."""
ANEW: Final = timedelta(hours=1)
"""The same again within it is the same reading: a page is many requests."""


class Views:
    """`find_live` gives a session that is under way: what is stored of one is what its own runner stores."""

    def __init__(self, *, registry: Registry, find_live: Callable[[str], Live | None]) -> None:
        self._registry = registry
        self._find_live = find_live

    async def note(self, thing: Owned, by: str, what: str, why: str) -> None:
        """Durable before anything is read. Raises StorageUnavailable, NotFound."""
        live = self._find_live(thing.id)
        session = live.session if live is not None else (await self._registry.get(thing.id)).session
        views = seen(session, by=by, what=what, why=why.strip(), at=datetime.now(UTC))
        if views is None:
            return
        if live is not None:
            await live.become(views=views)
        else:
            await self._registry.update(msgspec.structs.replace(session, views=views))


def seen(session: Session, *, by: str, what: str, why: str, at: datetime) -> list[View] | None:
    """Its views with this one, None where they tell of it already."""
    others = []
    for view in session.views:
        if (view.by_user, view.what, view.why) != (by, what, why):
            others.append(view)
        elif at - datetime.fromisoformat(view.at) < ANEW:
            return None
    stamp = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return [*others, View(by_user=by, what=what, why=why, at=stamp)][-LIMIT:]
