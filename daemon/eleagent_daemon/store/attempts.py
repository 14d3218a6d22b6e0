"""How often in a row was a wrong password given for an account?"""

from __future__ import annotations

from typing import Final

import msgspec

from eleagent_daemon.store.database import Database

_KEPT: Final = 10_000


class Tries(msgspec.Struct, frozen=True):
    """`last` is Unix time."""

    failed: int = 0
    last: float = 0.0


class Attempts:
    """An account is a hash of the name that was given: it may be anything, even a password typed in the wrong place.

    Over so many accounts the oldest are forgotten.
    """

    def __init__(self, *, database: Database, tries: dict[str, Tries]) -> None:
        self._db = database
        self._tries = tries

    @classmethod
    async def open(cls, database: Database) -> Attempts:
        rows = await database.rows("SELECT account, failed, last FROM attempts ORDER BY last")
        return cls(database=database, tries={row["account"]: Tries(row["failed"], row["last"]) for row in rows})

    def get(self, account: str) -> Tries:
        return self._tries.get(account, Tries())

    async def put(self, account: str, tries: Tries | None) -> None:
        """In memory at once, so that whoever asks meanwhile knows, and then on the disk."""
        self._tries.pop(account, None)
        if tries is not None:
            self._tries[account] = tries
        forgotten = [next(iter(self._tries))] if len(self._tries) > _KEPT else []
        for one in forgotten:
            del self._tries[one]
        async with self._db.change() as change:
            if tries is None:
                change.execute("DELETE FROM attempts WHERE account = ?", (account,))
            else:
                change.execute(
                    "INSERT INTO attempts (account, failed, last) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " failed = excluded.failed, last = excluded.last",
                    (account, tries.failed, tries.last),
                )
            for one in forgotten:
                change.execute("DELETE FROM attempts WHERE account = ?", (one,))
