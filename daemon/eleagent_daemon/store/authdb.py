"""How is auth.db kept? One file, one writer; what it holds is in memory too, so that no request waits for the disk."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import Row
from typing import Final, Self

import aiosqlite

from eleagent_daemon.store.database import open_database, transaction

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"


class Change:
    """One transaction under way."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self.kept: list[Callable[[], None]] = []

    async def execute(self, query: str, values: Sequence[object] = ()) -> None:
        await self._connection.execute(query, values)

    def then(self, keep: Callable[[], None]) -> None:
        """Change what is held in memory once the rows are committed, before anybody else may change either."""
        self.kept.append(keep)


class AuthDatabase:
    def __init__(self, *, connection: aiosqlite.Connection) -> None:
        self._db = connection
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        return cls(connection=await open_database(path, schema="auth"))

    async def close(self) -> None:
        await self._db.close()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """What is decided in here, on rows or on memory, still holds when it is committed."""
        async with self._lock:
            async with transaction(self._db) as connection:
                change = Change(connection)
                yield change
            for keep in change.kept:
                keep()

    async def rows(self, query: str, values: Sequence[object] = ()) -> Iterable[Row]:
        async with self._db.execute(query, values) as cursor:
            return await cursor.fetchall()


def fresh_id(prefix: str) -> str:
    """An id that nobody had: `prefix`, a dash and 10 base32 characters."""
    return f"{prefix}-" + "".join(secrets.choice(_BASE32) for _ in range(10))
