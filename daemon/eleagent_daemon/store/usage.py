"""Who used how much of which model on which day, and how much may the requests under way still come to?"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

import aiosqlite
import msgspec

from eleagent.wire.limits import UsageBy, UsageReport, UsageRow
from eleagent.wire.sessions import Usage
from eleagent_daemon.domain.limits import MICRO, Ask, Sum, Totals
from eleagent_daemon.store.database import transaction

_TOKENS: Final = "input_tokens + output_tokens + cache_read_tokens + cache_write_tokens"
_SUMS: Final = (
    "count(DISTINCT session) AS sessions, "
    + ", ".join(
        f"coalesce(sum({column}), 0) AS {name}"
        for column, name in {
            "requests": "requests", "input_tokens": "input_tokens", "output_tokens": "output_tokens",
            "cache_read_tokens": "cache_read_tokens", "cache_write_tokens": "cache_write_tokens",
            "cost_microusd": "microusd", "unpriced_tokens": "unpriced_tokens", "estimated": "estimated",
        }.items()
    )
    + " FROM usage WHERE scripted = 0 AND day BETWEEN ? AND ? AND (? IS NULL OR user = ?)"
)  # fmt: skip
_COLUMNS: Final = {
    UsageBy.USER: "user", UsageBy.PROJECT: "project", UsageBy.AGENT: "agent", UsageBy.MODEL: "model",
    UsageBy.SESSION: "session", UsageBy.DAY: "day",
}  # fmt: skip


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays. A rehearsal with a script counts for its session alone: it costs nobody anything."""

    session: str
    user: str
    agent: str
    api_key: str = ""
    project: str = ""
    scripted: bool = False


class Left(msgspec.Struct, frozen=True):
    """A reservation of a daemon that died before it was settled."""

    session: str
    usage: Usage


class UsageStore:
    """Tables of the registry's file, through its one connection and under its one write lock."""

    def __init__(self, *, connection: aiosqlite.Connection, lock: asyncio.Lock) -> None:
        self._db = connection
        self._lock = lock

    async def reserve(
        self, account: Account, day: str, ask: Ask, decide: Callable[[Totals], int | None]
    ) -> tuple[int, int] | None:
        """(reservation, tokens of the answer) as `decide` grants them; None where it grants nothing now. What it raises
        is raised, and nothing is reserved.
        """
        async with self._lock, transaction(self._db):
            output_tokens = decide(await self._totals(account, day))
            if output_tokens is None:
                return None
            cursor = await self._db.execute(
                "INSERT INTO reservations (session, model, day, user, api_key, project, agent, scripted, tokens,"
                " microusd, priced) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (account.session, ask.model, day, account.user, account.api_key, account.project, account.agent,
                 account.scripted, ask.input_tokens + output_tokens, ask.ceiling(output_tokens), ask.price is not None),
            )  # fmt: skip
            return int(cursor.lastrowid or 0), output_tokens

    async def settle(self, reservation: int, usage: Usage, *, estimated: bool) -> None:
        """Once; a reservation that is gone was settled before."""
        async with self._lock, transaction(self._db):
            await self._settle(reservation, usage, estimated=estimated)

    async def totals(self, account: Account, day: str) -> Totals:
        return await self._totals(account, day)

    async def settle_left(self) -> list[Left]:
        """At start: what a daemon that died had under way counts as all that it may have cost."""
        async with self._lock, transaction(self._db):
            rows = await self._all("SELECT * FROM reservations ORDER BY id", ())
            left = [Left(row["session"], _most(row)) for row in rows]
            for row, one in zip(rows, left, strict=True):
                await self._settle(row["id"], one.usage, estimated=True)
            return left

    async def report(self, by: UsageBy, *, since: str, until: str, user: str | None, prices: str) -> UsageReport:
        """The dearest first; of one user's sessions alone where one is named."""
        bounds = (since, until, user, user)
        rows = await self._all(
            f"SELECT {_COLUMNS[by]} AS name, {_SUMS} GROUP BY name ORDER BY microusd DESC, name", bounds
        )
        (total,) = await self._all(f"SELECT '' AS name, {_SUMS}", bounds)
        return UsageReport(
            by=by, since=since, until=until, prices=prices, rows=[_row(row) for row in rows], total=_row(total)
        )

    async def _settle(self, reservation: int, usage: Usage, *, estimated: bool) -> None:
        await self._db.execute(
            "INSERT INTO usage SELECT session, model, day, user, api_key, project, agent, scripted,"
            " ?, ?, ?, ?, ?, ?, ?, ?, ? FROM reservations WHERE id = ?"
            " ON CONFLICT (session, model, day) DO UPDATE SET requests = requests + excluded.requests,"
            " turns = turns + excluded.turns, input_tokens = input_tokens + excluded.input_tokens,"
            " output_tokens = output_tokens + excluded.output_tokens,"
            " cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,"
            " cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,"
            " cost_microusd = cost_microusd + excluded.cost_microusd,"
            " unpriced_tokens = unpriced_tokens + excluded.unpriced_tokens, estimated = estimated + excluded.estimated",
            (usage.requests, usage.turns, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
             usage.cache_write_tokens, usage.cost_microusd, usage.unpriced_tokens, int(estimated), reservation),
        )  # fmt: skip
        await self._db.execute("DELETE FROM reservations WHERE id = ?", (reservation,))

    async def _totals(self, account: Account, day: str) -> Totals:
        (own,) = await self._all(
            f"SELECT total(cost_microusd), total({_TOKENS}), total(turns) FROM usage WHERE session = ?",  # noqa: S608
            (account.session,),
        )
        (open_,) = await self._all(
            "SELECT total(microusd), total(tokens), count(*) FROM reservations WHERE session = ?", (account.session,)
        )
        money, tokens, turns = (Sum(int(one), int(other)) for one, other in zip(own, open_, strict=True))
        if account.scripted:
            return Totals(session=money, tokens=tokens, turns=turns)
        return Totals(
            session=money,
            tokens=tokens,
            turns=turns,
            user_day=await self._day("user", account.user, day),
            key_day=await self._day("api_key", account.api_key, day),
            project_day=await self._day("project", account.project, day),
        )

    async def _day(self, column: str, value: str, day: str) -> Sum:
        if not value:
            return Sum()
        where = f"WHERE {column} = ? AND day = ? AND scripted = 0"
        (used,) = await self._all(f"SELECT total(cost_microusd) FROM usage {where}", (value, day))  # noqa: S608
        (reserved,) = await self._all(f"SELECT total(microusd) FROM reservations {where}", (value, day))  # noqa: S608
        return Sum(int(used[0]), int(reserved[0]))

    async def _all(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        async with self._db.execute(query, values) as cursor:
            return list(await cursor.fetchall())


def _most(row: sqlite3.Row) -> Usage:
    """All that a reservation stood for. Its tokens count as input: nobody knows how they would have been divided."""
    unpriced = 0 if row["priced"] else row["tokens"]
    return Usage(
        requests=1, turns=1, input_tokens=row["tokens"], cost_microusd=row["microusd"], unpriced_tokens=unpriced
    )


def _row(row: sqlite3.Row) -> UsageRow:
    return UsageRow(
        name=row["name"],
        sessions=row["sessions"],
        requests=row["requests"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_tokens=row["cache_read_tokens"],
        cache_write_tokens=row["cache_write_tokens"],
        cost_usd=row["microusd"] / MICRO,
        unpriced_tokens=row["unpriced_tokens"],
        estimated=row["estimated"],
    )
