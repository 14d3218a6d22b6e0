"""How is a SQLite file opened? WAL, one writer, numbered migrations; a newer file is refused, an older backed up."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

import aiosqlite

from eleagent.errors import StorageUnavailable, Unavailable


async def open_database(path: Path, *, schema: str) -> aiosqlite.Connection:
    """Open (0600) and migrate by `store/migrations/<schema>/NNNN_*.sql`. Raises Unavailable for a file from a newer
    release.
    """
    os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            await connection.execute(f"PRAGMA {pragma}")
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
        raise StorageUnavailable(f"the registry can't be written: {err}") from err
