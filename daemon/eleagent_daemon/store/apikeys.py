"""Which API keys are there, and what are they bound to?"""

from __future__ import annotations

import msgspec

from eleagent_daemon.store.database import Database
from eleagent_daemon.store.registry import ORGANIZATION


class Bounds(msgspec.Struct, frozen=True):
    """What a key may do at most, whatever its maker may; its sessions together spend at most `day_usd` on a day. Empty
    and None bind nothing, except `scopes`.
    """

    scopes: frozenset[str]
    projects: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    networks: tuple[str, ...] = ()
    sessions: int | None = None
    day_usd: float | None = None


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Times are Unix time; `user` is an id. `hash` is of the whole key, made with `pepper`."""

    id: str
    user: str
    note: str
    grp: str
    bounds: Bounds
    hash: bytes
    pepper: str
    created: float
    expires: float
    used: float | None = None


class KeyRows:
    """Those that were not revoked are in memory."""

    def __init__(self, *, database: Database, rows: list[KeyRow]) -> None:
        self._db = database
        self._rows = {row.id: row for row in rows}

    @classmethod
    async def open(cls, database: Database) -> KeyRows:
        rows = await database.rows("SELECT * FROM api_keys WHERE revoked IS NULL AND organization = ?", (ORGANIZATION,))
        return cls(database=database, rows=[msgspec.convert(_decoded(dict(row)), KeyRow) for row in rows])

    def find(self, identifier: str) -> KeyRow | None:
        return self._rows.get(identifier)

    def list_rows(self) -> list[KeyRow]:
        return sorted(self._rows.values(), key=lambda row: row.created)

    async def add(self, row: KeyRow) -> None:
        async with self._db.change() as change:
            change.execute(
                "INSERT INTO api_keys (id, organization, user, note, grp, bounds, hash, pepper, created, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.id, ORGANIZATION, row.user, row.note, row.grp, msgspec.json.encode(row.bounds).decode(), row.hash,
                 row.pepper, row.created, row.expires),
            )  # fmt: skip
            change.then(lambda: self._rows.update({row.id: row}))

    async def used(self, identifier: str, at: float, *, hashed: bytes, pepper: str) -> None:
        """It was used; its hash is made with the pepper in use now."""
        async with self._db.change() as change:
            if (row := self._rows.get(identifier)) is None:
                return
            after = msgspec.structs.replace(row, used=at, hash=hashed, pepper=pepper)
            change.execute(
                "UPDATE api_keys SET used = ?, hash = ?, pepper = ? WHERE id = ?", (at, hashed, pepper, identifier)
            )
            change.then(lambda: self._rows.update({identifier: after}))

    async def revoke(self, identifiers: list[str], at: float) -> None:
        """For good, at once in memory: nobody waits for the disk to be turned out."""
        gone = [one for one in identifiers if self._rows.pop(one, None) is not None]
        async with self._db.change(take_away=True) as change:
            for one in gone:
                change.execute("UPDATE api_keys SET revoked = ? WHERE id = ?", (at, one))


def _decoded(row: dict[str, object]) -> dict[str, object]:
    return row | {"bounds": msgspec.json.decode(str(row["bounds"]))}
