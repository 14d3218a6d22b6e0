"""Which sessions are there, and in which state? The truth about what was accepted, whatever else died."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosqlite
import msgspec

from eleagent.errors import BadRequest, Conflict, NotFound, Unavailable
from eleagent.permissions import Reach
from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.access import Sight
from eleagent_daemon.domain.lifecycle import check_move
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.store.database import Database, transaction

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ORGANIZATION = "default"
KEY_KEPT = timedelta(hours=24)
"""How long a repeated request with the same idempotency key gets the first one's session."""
PROJECT = "default"
"""Where a session is that names no project."""

# What `Sight.reaches` says, for SQLite to say.
_IN_SIGHT = """(
    :reach >= :own AND owner = :user
    OR :reach >= :project AND NOT coalesce(json_extract(session, '$.private'), 0)
        AND coalesce(json_extract(session, '$.project'), :default) IN (SELECT value FROM json_each(:projects))
    OR :reach >= :any
) AND (
    :within IS NULL
    OR coalesce(json_extract(session, '$.project'), :default) IN (SELECT value FROM json_each(:within))
)"""


class CallerIdentity(msgspec.Struct, frozen=True):
    """Whose rights open the session's host paths."""

    uid: int
    gid: int
    groups: list[int]


class Reservation(msgspec.Struct, frozen=True):
    """A key and a user of the pool, kept for a session that does not exist yet."""

    key: str
    uid: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A session as the registry holds it. `uid` is its user in the pool, `attempt` counts the sandboxes made for it."""

    session: Session
    request: SessionCreate
    caller: CallerIdentity
    uid: int
    attempt: int


Admit = Callable[[list[Session]], None]
"""Whether there is room for one more among the sessions alive. Raises Conflict."""


class Registry:
    def __init__(self, *, database: Database) -> None:
        self.database = database
        self._db, self._lock = self.shared()
        self._reserved: set[int] = set()

    @classmethod
    async def open(cls, path: Path) -> Registry:
        return cls(database=await Database.open(path, schema="registry"))

    async def close(self) -> None:
        await self.database.close()

    def shared(self) -> tuple[aiosqlite.Connection, asyncio.Lock]:
        """The connection and its one write lock, for the other tables of the file."""
        return self.database.connection, self.database.lock

    async def create_session(
        self,
        session: Session,
        request: SessionCreate,
        caller: CallerIdentity,
        *,
        token: str | None,
        reserved: Reservation | None = None,
        wanted_uid: int | None = None,
        admit: Admit | None = None,
    ) -> tuple[Record, bool]:
        """Store a new session under a fresh key with a free user of the pool (`wanted_uid` where it is free), or those
        `reserved`; (record, False) with the first one when `token` (an idempotency key of this owner) was seen before.
        Nothing else begins between what `admit` is asked and the new session.

        Raises Conflict when a live session of the owner's has the name (nobody learns others' names), Unavailable when
        every user of the pool is taken, and what `admit` raises.
        """
        async with self._lock, transaction(self._db):
            await self._db.execute("DELETE FROM idempotency WHERE created < ?", (_before(KEY_KEPT),))
            if token and (first := await self.find_first(session.owner, token)) is not None:
                return first, False
            if admit is not None:
                admit([record.session for record in await self.live()])
            key, uid = (
                (reserved.key, reserved.uid) if reserved else (_new_key(), await self._free_uid(wanted=wanted_uid))
            )
            name = session.name or key
            stored = msgspec.structs.replace(session, key=key, name=name)
            record = Record(session=stored, request=request, caller=caller, uid=uid, attempt=0)
            try:
                await self._db.execute(
                    "INSERT INTO sessions (key, organization, name, owner, state, live, uid, attempt, created,"
                    " session, request, caller)"
                    " VALUES (?, ?, ?, ?, ?, 1, ?, 0, ?, ?, ?, ?)",
                    (key, ORGANIZATION, name, session.owner, session.state, uid, session.created,
                     _text(stored), _text(request), _text(caller)),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                raise _named(name) from None
            if token:
                await self._db.execute(
                    "INSERT INTO idempotency (owner, token, session, created) VALUES (?, ?, ?, ?)",
                    (session.owner, token, key, now_text()),
                )
            return record, True

    async def find_first(self, owner: str, token: str) -> Record | None:
        """What a request with this idempotency key of the owner's has started in the last KEY_KEPT."""
        row = await self._one(
            "SELECT session FROM idempotency WHERE owner=? AND token=? AND created >= ?",
            (owner, token, _before(KEY_KEPT)),
        )
        return await self._get(row["session"]) if row is not None else None

    async def reserve(self) -> Reservation:
        """From the far end of the pool, so that a new session seldom wants the user of a sandbox that is on its way
        out. Kept in memory alone, until `let_go`. Raises Unavailable."""
        async with self._lock:
            uid = await self._free_uid(last=True)
            self._reserved.add(uid)
            return Reservation(_new_key(), uid)

    def let_go(self, reserved: Reservation) -> None:
        """The reservation is a session's by now, or nobody's."""
        self._reserved.discard(reserved.uid)

    async def update(self, session: Session, *, attempt: int | None = None) -> None:
        """Store what a session has become. An ended session gives its user back to the pool.

        Raises NotFound, and IllegalMove for a state that does not follow from the stored one.
        """
        async with self._lock, transaction(self._db):
            row = await self._one("SELECT state FROM sessions WHERE key=?", (session.key,))
            if row is None:
                raise NotFound(f"no session {session.key!r}: eleagent ps -a lists them")
            check_move(State(row["state"]), session.state)
            await self._db.execute(
                "UPDATE sessions SET state=?, live=?, session=?, attempt=coalesce(?, attempt) WHERE key=?",
                (session.state, not session.state.ended, _text(session), attempt, session.key),
            )

    async def rename(self, key: str, name: str) -> Session:
        """Raises NotFound, and Conflict when another live session of its owner has the name."""
        async with self._lock, transaction(self._db):
            session = msgspec.structs.replace((await self._get(key)).session, name=name)
            try:
                await self._db.execute("UPDATE sessions SET name=?, session=? WHERE key=?", (name, _text(session), key))
            except sqlite3.IntegrityError:
                raise _named(name) from None
            return session

    async def ended_before(self, stamp: str) -> list[str]:
        """Keys of sessions that ended before that time (RFC 3339), oldest first."""
        rows = await self._all(
            "SELECT key FROM sessions WHERE live=0 AND json_extract(session, '$.ended') < ? ORDER BY created", (stamp,)
        )
        return [row["key"] for row in rows]

    async def forget(self, key: str) -> None:
        """Delete the record of an ended session and of what it asked. What it used stays: it was spent."""
        tables = {"approvals": "session", "idempotency": "session", "reservations": "session", "sessions": "key"}
        async with self._lock, transaction(self._db):
            for table, column in tables.items():
                await self._db.execute(f"DELETE FROM {table} WHERE {column}=?", (key,))  # noqa: S608 - names of ours

    async def get(self, key: str) -> Record:
        """Raises NotFound."""
        return await self._get(key)

    async def find_key(self, text: str, sight: Sight) -> str:
        """The session that a person means among those in sight: `@` (their own last), a key, a name (their own,
        that lives, the newest of it: in this order), a unique prefix of a key.

        Raises NotFound, and BadRequest for a prefix of several.
        """
        if text == "@":
            rows = await self._seen(
                "SELECT key FROM sessions WHERE owner = :user", sight, "ORDER BY created DESC, rowid DESC LIMIT 1"
            )
            if not rows:
                raise NotFound("you have no session yet: start one with eleagent run")
            return str(rows[0]["key"])
        rows = await self._seen(
            "SELECT key FROM sessions WHERE :text IN (key, name)",
            sight,
            "ORDER BY key = :text DESC, owner = :user DESC, live DESC, created DESC, rowid DESC LIMIT 1",
            text=text,
        )
        if rows:
            return str(rows[0]["key"])
        prefix = text if text.startswith("s-") else f"s-{text}"
        escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        rows = await self._seen(
            "SELECT key FROM sessions WHERE key LIKE :prefix ESCAPE '\\'",
            sight,
            "ORDER BY created DESC LIMIT 3",
            prefix=escaped + "%",
        )
        if len(rows) > 1:
            raise BadRequest(
                f"{text!r} begins several sessions ({', '.join(row['key'] for row in rows)}): write more of it"
            )
        if not rows:
            raise NotFound(f"no session {text!r}: eleagent ps -a lists them")
        return str(rows[0]["key"])

    async def list_sessions(self, sight: Sight, *, live_only: bool, limit: int) -> list[Session]:
        """Those in sight, newest first."""
        rows = await self._seen(
            "SELECT session FROM sessions WHERE live >= :live",
            sight,
            "ORDER BY created DESC, rowid DESC LIMIT :limit",
            live=int(live_only),
            limit=limit,
        )
        return [msgspec.json.decode(row["session"], type=Session) for row in rows]

    async def list_kept(self, *, most: int) -> list[Session]:
        """Ended sessions whose sandboxes are kept to be looked at, the newest first."""
        rows = await self._all(
            "SELECT session FROM sessions WHERE live=0 AND state=? ORDER BY created DESC, rowid DESC LIMIT ?",
            (State.ISOLATION_FAILED, most),
        )
        found = [msgspec.json.decode(row["session"], type=Session) for row in rows]
        return [session for session in found if session.kept_until and session.kept_until > now_text()]

    async def _seen(self, select: str, sight: Sight, order: str, **values: object) -> list[sqlite3.Row]:
        """Rows of sessions that `sight` reaches."""
        seen = {reach.name.lower(): int(reach) for reach in Reach} | {
            "default": PROJECT,
            "reach": int(sight.reach),
            "user": sight.user,
            "projects": msgspec.json.encode(sorted(sight.projects)).decode(),
            "within": None if sight.within is None else msgspec.json.encode(sorted(sight.within)).decode(),
        }
        async with self._db.execute(f"{select} AND {_IN_SIGHT} {order}", values | seen) as cursor:
            return list(await cursor.fetchall())

    async def live(self) -> list[Record]:
        """Every session that has not ended, oldest first."""
        rows = await self._all("SELECT * FROM sessions WHERE live=1 ORDER BY created, rowid", ())
        return [_record(row) for row in rows]

    async def _free_uid(self, *, last: bool = False, wanted: int | None = None) -> int:
        rows = await self._all("SELECT uid FROM sessions WHERE live=1", ())
        taken = {row["uid"] for row in rows} | self._reserved
        if wanted is not None and wanted not in taken:
            return wanted
        pool = range(POOL_FIRST_UID, POOL_FIRST_UID + POOL_SIZE)
        if (uid := next((uid for uid in (reversed(pool) if last else pool) if uid not in taken), None)) is not None:
            return uid
        raise Unavailable(f"all {POOL_SIZE} users of the pool have a live session: stop some")

    async def _get(self, key: str) -> Record:
        row = await self._one("SELECT * FROM sessions WHERE key=?", (key,))
        if row is None:
            raise NotFound(f"no session {key!r}: eleagent ps -a lists them")
        return _record(row)

    async def _one(self, query: str, values: Sequence[object]) -> sqlite3.Row | None:
        async with self._db.execute(query, values) as cursor:
            return await cursor.fetchone()

    async def _all(self, query: str, values: Sequence[object]) -> list[sqlite3.Row]:
        async with self._db.execute(query, values) as cursor:
            return list(await cursor.fetchall())


def _new_key() -> str:
    return "s-" + "".join(secrets.choice(_ALPHABET) for _ in range(10))


def _before(age: timedelta) -> str:
    return (datetime.now(UTC) - age).isoformat(timespec="microseconds").replace("+00:00", "Z")


def now_text() -> str:
    return _before(timedelta())


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _record(row: sqlite3.Row) -> Record:
    return Record(
        session=msgspec.json.decode(row["session"], type=Session),
        request=msgspec.json.decode(row["request"], type=SessionCreate),
        caller=msgspec.json.decode(row["caller"], type=CallerIdentity),
        uid=row["uid"],
        attempt=row["attempt"],
    )


def _named(name: str) -> Conflict:
    """Names are each owner's: whether somebody else has one is nothing that a conflict could tell."""
    return Conflict(f"a live session of yours is named {name!r} already: choose another name or stop it")
