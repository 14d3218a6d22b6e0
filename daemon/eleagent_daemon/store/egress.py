"""What did all sessions together reach for on the network? An index that is read from their timelines when it is asked.

The timelines are the truth: the file may be deleted at any time and is made again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import aiosqlite
import msgspec

from eleagent.wire.egress import Door, EgressDecision, EgressHost, EgressList, EgressTop
from eleagent.wire.events import EgressModel, EgressTunnel, SessionCreated, SessionEnded
from eleagent.wire.timeline import Event
from eleagent_daemon.store.database import open_database, transaction
from eleagent_daemon.store.timeline import Timelines

_MARK: Final = b'"type":"egress.'
_OURS: Final = (EgressModel.type, EgressTunnel.type)
_decode = msgspec.json.Decoder(Event).decode
_COLUMNS: Final = (
    "session", "seq", "ts", "door", "allowed", "rule", "host", "asked", "address", "reason", "bytes_up", "bytes_down",
    "duration_ms", "count",
)  # fmt: skip


class Egress:
    """`folder` is where the timelines are."""

    def __init__(
        self, *, connection: aiosqlite.Connection, timelines: Timelines, folder: Path, pool: ThreadPoolExecutor
    ) -> None:
        self._connection = connection
        self._timelines = timelines
        self._folder = folder
        self._pool = pool
        self._lock = asyncio.Lock()
        self._sealed: set[str] | None = None

    @classmethod
    async def open(cls, path: Path, *, timelines: Timelines, folder: Path, pool: ThreadPoolExecutor) -> Egress:
        connection = await open_database(path, schema="egress")
        return cls(connection=connection, timelines=timelines, folder=folder, pool=pool)

    async def close(self) -> None:
        async with self._lock:
            await self._connection.close()

    async def list_decisions(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int,
        newest: bool = False,
        session: str = "",
        owner: str | None = None,
        text: str = "",
        refused: bool = False,
    ) -> EgressList:
        """`text` is looked for in host, rule, reason and what was asked; `owner`: of that person's sessions alone."""
        where, values = ["id > ?"], [after]
        terms: list[tuple[bool, str, list[Any]]] = [
            (before is not None, "id < ?", [before]),
            (bool(session), "session = ?", [session]),
            (owner is not None, "session IN (SELECT session FROM read_up_to WHERE owner = ?)", [owner]),
            (refused, "allowed = 0", []),
            (bool(text), "instr(lower(host || ' ' || rule || ' ' || reason || ' ' || asked), ?) > 0", [text.lower()]),
        ]
        for wanted, condition, given in terms:
            if wanted:
                where.append(condition)
                values += given
        query = (
            f"SELECT id, {', '.join(_COLUMNS)} FROM decisions WHERE {' AND '.join(where)} "  # noqa: S608 - of our own words
            f"ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ?"
        )
        async with self._lock:
            await self._catch_up()
            rows = list(await self._connection.execute_fetchall(query, [*values, limit + 1]))
        found = [msgspec.convert(dict(row), EgressDecision, strict=False) for row in rows[:limit]]
        further = found[-1].id if len(rows) > limit else None
        return EgressList(decisions=found[::-1] if newest else found, next=further)

    async def top(self, *, since: str = "", limit: int, session: str = "", owner: str | None = None) -> EgressTop:
        query = """
            SELECT host, sum(iif(allowed, count, 0)) AS allowed, sum(iif(allowed, 0, count)) AS refused,
                count(DISTINCT session) AS sessions, sum(bytes_up) AS bytes_up, sum(bytes_down) AS bytes_down,
                max(ts) AS last
            FROM decisions
            WHERE ts >= ? AND (? = '' OR session = ?)
                AND (? IS NULL OR session IN (SELECT session FROM read_up_to WHERE owner = ?))
            GROUP BY host ORDER BY sum(count) DESC, host LIMIT ?
        """
        async with self._lock:
            await self._catch_up()
            rows = await self._connection.execute_fetchall(query, (since, session, session, owner, owner, limit))
        return EgressTop(hosts=[msgspec.convert(dict(row), EgressHost) for row in rows])

    async def _catch_up(self) -> None:
        """Read on where each timeline was left. What has its last event is never opened again."""
        loop = asyncio.get_running_loop()
        there = await loop.run_in_executor(self._pool, _keys, self._folder)
        known = {row["session"]: row for row in await self._connection.execute_fetchall("SELECT * FROM read_up_to")}
        async with transaction(self._connection):
            for gone in known.keys() - there:
                await self._connection.execute("DELETE FROM read_up_to WHERE session = ?", (gone,))
            rows: list[tuple[Any, ...]] = []
            for key in sorted(there):
                row = known.get(key)
                if row is not None and row["sealed"]:
                    continue
                at, owner = (row["seq"], row["owner"]) if row is not None else (0, "")
                rows += await self._read(key, at, owner)
            rows.sort(key=lambda row: str(row[2]))
            names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
            await self._connection.executemany(
                f"INSERT OR IGNORE INTO decisions ({names}) VALUES ({marks})",  # noqa: S608 - of our own words
                rows,
            )

    async def _read(self, key: str, after: int, owner: str) -> list[tuple[Any, ...]]:
        loop = asyncio.get_running_loop()
        found: list[tuple[Any, ...]] = []
        seq, sealed = after, False
        async with aclosing(self._timelines.stream(key, after=after, follow=False)) as blocks:
            async for data, _ in blocks:
                if seq == 0:
                    first = _decode(data[: data.index(b"\n")])
                    owner = str(first.data.get("owner", "")) if first.type == SessionCreated.type else ""
                found += await loop.run_in_executor(self._pool, _decisions, key, data)
                seq += data.count(b"\n")
                sealed = b'"type":"%b"' % SessionEnded.type.encode() in data[data.rfind(b"\n", 0, -1) + 1 :]
        if seq > after:
            await self._connection.execute(
                "INSERT INTO read_up_to (session, seq, owner, sealed) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (session) DO UPDATE SET seq = excluded.seq, sealed = excluded.sealed",
                (key, seq, owner, sealed),
            )
        return found


def _keys(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name.removesuffix(".jsonl") for entry in entries if entry.name.endswith(".jsonl")}


def _decisions(key: str, data: bytes) -> list[tuple[Any, ...]]:
    """Blocking. The rows of these whole lines."""
    return list(_rows(key, data))


def _rows(key: str, data: bytes) -> Iterator[tuple[Any, ...]]:
    at = data.find(_MARK)
    while at >= 0:
        begin, end = data.rfind(b"\n", 0, at) + 1, data.index(b"\n", at)
        event = _decode(data[begin:end])
        if event.type in _OURS:
            yield _row(key, event)
        at = data.find(_MARK, end)


def _row(key: str, event: Event) -> tuple[Any, ...]:
    what = event.payload()
    if isinstance(what, EgressModel):
        door, host, asked, address = Door.MODEL, what.upstream or "model", f"{what.method} {what.path}", ""
    else:
        assert isinstance(what, EgressTunnel)  # noqa: S101  # the two types that are asked for
        door, host, asked, address = Door.TUNNEL, f"{what.host}:{what.port}", "", what.address
    return (
        key, event.seq, event.ts, door, what.allowed, what.rule, host, asked, address, what.reason, what.bytes_up,
        what.bytes_down, what.duration_ms, what.count,
    )  # fmt: skip
