"""Which logins are there, and which refresh token is each one's next?"""

from __future__ import annotations

import hmac
from enum import StrEnum

import msgspec

from eleagent_daemon.store.database import Database
from eleagent_daemon.store.registry import ORGANIZATION


class Presented(StrEnum):
    """What a refresh token turned out to be."""

    NEXT = "next"
    USED = "used"
    WRONG = "wrong"


class LoginRow(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix time. `user` is an id; `refresh` is the hash of the one refresh token that is good, made with
    `pepper`.
    """

    id: str
    user: str
    created: float
    confirmed: float
    seen: float
    expires: float
    refresh: bytes
    pepper: str
    address: str = ""
    note: str = ""


class LoginRows:
    """Those that have not ended are in memory."""

    def __init__(self, *, database: Database, rows: list[LoginRow]) -> None:
        self._db = database
        self._rows = {row.id: row for row in rows}

    @classmethod
    async def open(cls, database: Database) -> LoginRows:
        rows = await database.rows("SELECT * FROM logins WHERE ended IS NULL AND organization = ?", (ORGANIZATION,))
        return cls(database=database, rows=[msgspec.convert(dict(row), LoginRow) for row in rows])

    def find(self, identifier: str) -> LoginRow | None:
        return self._rows.get(identifier)

    def list_rows(self, user: str | None = None) -> list[LoginRow]:
        """Of one user or of all, oldest first."""
        found = (row for row in self._rows.values() if user in (None, row.user))
        return sorted(found, key=lambda row: row.created)

    async def add(self, row: LoginRow) -> None:
        async with self._db.change() as change:
            change.execute(
                "INSERT INTO logins (id, organization, user, created, confirmed, seen, expires, address, note, refresh,"
                " pepper) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.id, ORGANIZATION, row.user, row.created, row.confirmed, row.seen, row.expires, row.address,
                 row.note, row.refresh, row.pepper),
            )  # fmt: skip
            change.then(lambda: self._rows.update({row.id: row}))

    async def exchange(
        self, identifier: str, given: bytes, *, refresh: bytes, pepper: str, at: float
    ) -> tuple[Presented, LoginRow | None]:
        """Take the hash of a refresh token for that of the next, once: of two at the same time the second was used."""
        async with self._db.change() as change:
            row = self._rows.get(identifier)
            if row is None:
                return Presented.WRONG, None
            if hmac.compare_digest(row.refresh, given):
                after = msgspec.structs.replace(row, refresh=refresh, pepper=pepper, seen=at)
                change.execute("INSERT INTO used_refreshes (login, refresh) VALUES (?, ?)", (identifier, row.refresh))
                change.execute(
                    "UPDATE logins SET refresh = ?, pepper = ?, seen = ? WHERE id = ?",
                    (refresh, pepper, at, identifier),
                )
                change.then(lambda: self._rows.update({identifier: after}))
                return Presented.NEXT, after
            used = await self._db.rows(
                "SELECT 1 FROM used_refreshes WHERE login = ? AND refresh = ?", (identifier, given)
            )
            return (Presented.USED if list(used) else Presented.WRONG), row

    async def confirm(self, identifier: str, at: float) -> LoginRow | None:
        """Its password was given once more."""
        async with self._db.change() as change:
            if (row := self._rows.get(identifier)) is None:
                return None
            after = msgspec.structs.replace(row, confirmed=at, seen=at)
            change.execute("UPDATE logins SET confirmed = ?, seen = ? WHERE id = ?", (at, at, identifier))
            change.then(lambda: self._rows.update({identifier: after}))
        return after

    def touch(self, identifier: str, at: float) -> None:
        """It was used; kept in memory alone, since it is for people to see."""
        if (row := self._rows.get(identifier)) is not None:
            self._rows[identifier] = msgspec.structs.replace(row, seen=at)

    async def end(self, identifiers: list[str], *, at: float, why: str) -> None:
        """For good, at once in memory: nobody waits for the disk to be turned out."""
        gone = [row for one in identifiers if (row := self._rows.pop(one, None)) is not None]
        async with self._db.change(take_away=True) as change:
            for row in gone:
                change.execute("UPDATE logins SET ended = ?, ended_why = ? WHERE id = ?", (at, why, row.id))
                change.execute("DELETE FROM used_refreshes WHERE login = ?", (row.id,))
