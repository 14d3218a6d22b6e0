"""How is a SQLite file opened and changed? WAL, one writer, numbered migrations; a newer file is refused, an older
backed up. What only takes away is done on a full disk too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

import aiosqlite
import msgspec

from eleagent.errors import StorageUnavailable, Unavailable
from eleagent_daemon.store.slate import Slate

log = logging.getLogger(__name__)

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "cache_size=-256")
"""The cache's size is in KiB: what it would hold beyond a statement's needs the kernel's cache has anyway."""

RETRY_S: Final = 1.0
"""How often it is tried to write what waits for room."""

Value = str | int | float | bytes | None
Statement = tuple[str, Sequence[Value]]


class Change:
    """What is to be done to a database in one step, and what is held of it in memory."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.kept: list[Callable[[], object]] = []

    def execute(self, query: str, values: Sequence[Value] = ()) -> None:
        self.statements.append((query, values))

    def then(self, keep: Callable[[], object]) -> None:
        """Change what is held in memory once the rows are committed, before anybody else may change either."""
        self.kept.append(keep)


class Database:
    """A SQLite file with one writer: who holds `lock`.

    What only takes away and finds no room is owed: it counts from then on, is noted on a slate beside the file, whose
    room was taken before, and is written before anything else as soon as there is room, after a restart too.
    """

    def __init__(self, *, connection: aiosqlite.Connection, slate: Slate) -> None:
        self.connection = connection
        self.lock = asyncio.Lock()
        self._slate = slate
        self._owed: list[Statement] = []

    @classmethod
    async def open(cls, path: Path, *, schema: str) -> Self:
        """Raises Unavailable when what is owed can't be written: what was taken away does not come back."""
        slate = Slate(path.with_name(f"{path.name}-owed"))
        owed = [one for line in await asyncio.to_thread(slate.open) for one in msgspec.json.decode(line, type=_NOTE)]

        async def pay(connection: aiosqlite.Connection) -> None:
            if owed:
                await _commit(connection, owed)
                await asyncio.to_thread(slate.wipe)

        database = cls(connection=await open_database(path, schema=schema, first=pay), slate=slate)
        await database._keep_room()
        return database

    async def close(self) -> None:
        await self.connection.close()

    @property
    def owes(self) -> bool:
        """Whether something counts that is not in the file yet."""
        return bool(self._owed)

    @asynccontextmanager
    async def change(self, *, take_away: bool = False) -> AsyncIterator[Change]:
        """What is decided in here, on rows or on memory, still holds when it is committed. Raises StorageUnavailable
        when the disk does not take it; what only takes away (`take_away`) is owed then. Its statements do the same when
        they are done twice, and have no bytes.
        """
        async with self.lock:
            change = Change()
            yield change
            try:
                if change.statements:
                    await self._write(change.statements)
            except StorageUnavailable as err:
                if not take_away:
                    raise
                log.warning(
                    "%s: what was taken away counts all the same and is written when there is room", err.message
                )
                self._owed += change.statements
                for keep in change.kept:
                    keep()
                await self._note(change.statements)
            else:
                for keep in change.kept:
                    keep()

    async def rows(self, query: str, values: Sequence[Value] = ()) -> Iterable[sqlite3.Row]:
        async with self.connection.execute(query, values) as cursor:
            return await cursor.fetchall()

    async def run(self) -> None:
        """For as long as the daemon lives: write what is owed, and keep room for what will be."""
        while True:
            await asyncio.sleep(RETRY_S)
            if self.owes:
                with suppress(StorageUnavailable):
                    async with self.lock:
                        await self._write([])
                    log.warning("what waited for room is written")
            elif not self._slate.there:
                await self._keep_room()

    async def _write(self, statements: Sequence[Statement]) -> None:
        """What is owed, then these. Raises StorageUnavailable."""
        await _commit(self.connection, [*self._owed, *statements])
        if self._owed:
            try:
                await asyncio.to_thread(self._slate.wipe)
            except OSError as err:  # it is written once more with the next change, before that
                log.warning("what was owed is written, but can't be wiped from its slate: %s", err.strerror)
            else:
                self._owed.clear()

    async def _note(self, statements: Sequence[Statement]) -> None:
        try:
            await asyncio.to_thread(self._slate.note, msgspec.json.encode(statements))
        except OSError as err:
            log.warning("what was taken away is in memory alone until there is room: its slate: %s", err.strerror)

    async def _keep_room(self) -> None:
        try:
            await asyncio.to_thread(self._slate.keep)
        except OSError as err:
            log.debug("no room is kept for what takes away: %s", err.strerror)


_NOTE: Final = list[tuple[str, list[str | int | float | None]]]


async def _commit(connection: aiosqlite.Connection, statements: Sequence[Statement]) -> None:
    async with transaction(connection):
        for query, values in statements:
            await connection.execute(query, values)


async def open_database(
    path: Path, *, schema: str, first: Callable[[aiosqlite.Connection], Awaitable[None]] | None = None
) -> aiosqlite.Connection:
    """Open (0600) and migrate by `store/migrations/<schema>/NNNN_*.sql`, after `first`. Raises Unavailable for a file
    from a newer release.
    """
    os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        for pragma in _PRAGMAS:
            await connection.execute(f"PRAGMA {pragma}")
        if first is not None:
            await first(connection)
        await _migrate(connection, path, schema)
    except BaseException:
        await connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


async def _migrate(connection: aiosqlite.Connection, path: Path, schema: str) -> None:
    scripts = await asyncio.to_thread(migrations, schema)
    newest = max(scripts)
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    version = int(row[0]) if row else 0
    if version > newest:
        raise Unavailable(
            f"{path} was written by a newer release (schema {version}, this one knows {newest}): upgrade EleAgent"
        )
    if 0 < version < newest:
        backup = path.with_suffix(f".v{version}.bak")
        os.close(os.open(backup, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        # Not a copy of the file: what was committed last may still be in the write-ahead log.
        await connection.execute("VACUUM INTO ?", (str(backup),))
    for number, script in scripts.items():
        if number > version:
            await connection.executescript(script)


@cache
def migrations(schema: str) -> dict[int, str]:
    """The schema's scripts by number, in order."""
    folder = files("eleagent_daemon.store") / "migrations" / schema
    return {
        int(script.name.split("_")[0]): script.read_text()
        for script in sorted(folder.iterdir(), key=lambda one: one.name)
    }


@asynccontextmanager
async def transaction(connection: aiosqlite.Connection) -> AsyncIterator[aiosqlite.Connection]:
    """BEGIN IMMEDIATE … COMMIT. The caller holds the database's one write lock. Raises StorageUnavailable when the disk
    does not take it.
    """
    try:
        try:
            # Who is cancelled here has begun all the same: the connection's thread does not hear of it.
            await connection.execute("BEGIN IMMEDIATE")
            yield connection
            await connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.OperationalError):  # where SQLite has rolled back by itself already
                await connection.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as err:
        raise StorageUnavailable(f"the daemon's database can't be written: {err}: make room or mend the disk") from err
