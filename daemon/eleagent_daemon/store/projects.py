"""Which projects are there, and who is in them?"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent_daemon.store.database import Database
from eleagent_daemon.store.registry import ORGANIZATION, PROJECT


class ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """`owner` and `users` are names of users, `groups` numbers of the machine's groups by the name given."""

    name: str
    owner: str
    created: str
    description: str = ""
    agents: list[str] = []
    sessions: int | None = None
    users: list[str] = []
    groups: dict[str, int] = {}
    archived: bool = False


class ProjectRows:
    def __init__(self, *, database: Database, rows: list[ProjectRow]) -> None:
        self._db = database
        self._rows = {row.name: row for row in rows}

    @classmethod
    async def open(cls, database: Database) -> ProjectRows:
        rows = await database.rows("SELECT project FROM projects WHERE organization = ?", (ORGANIZATION,))
        return cls(database=database, rows=[msgspec.json.decode(row["project"], type=ProjectRow) for row in rows])

    def find(self, name: str) -> ProjectRow | None:
        return self._rows.get(name)

    def list_rows(self) -> list[ProjectRow]:
        return sorted(self._rows.values(), key=lambda row: row.name)

    def of(self, user: str, groups: frozenset[int]) -> frozenset[str]:
        """The projects that a user is a member of, by name or by one of the machine's groups."""
        return frozenset(
            row.name
            for row in self._rows.values()
            if user == row.owner or user in row.users or not groups.isdisjoint(row.groups.values())
        )

    async def create(self, row: ProjectRow) -> None:
        """Raises Conflict for a name that is taken."""
        async with self._db.change() as change:
            if row.name in self._rows or row.name == PROJECT:
                raise Conflict(f"there is a project {row.name!r} already, perhaps of others: choose another name")
            change.execute(
                "INSERT INTO projects (organization, name, project) VALUES (?, ?, ?)",
                (ORGANIZATION, row.name, msgspec.json.encode(row).decode()),
            )
            change.then(lambda: self._rows.update({row.name: row}))

    async def update(self, name: str, become: Callable[[ProjectRow], ProjectRow]) -> ProjectRow:
        """Raises NotFound."""
        async with self._db.change() as change:
            if (row := self._rows.get(name)) is None:
                raise NotFound(f"no project {name!r}: eleagent project ls lists them")
            after = become(row)
            change.execute(
                "UPDATE projects SET project = ? WHERE organization = ? AND name = ?",
                (msgspec.json.encode(after).decode(), ORGANIZATION, name),
            )
            change.then(lambda: self._rows.update({name: after}))
        return after
