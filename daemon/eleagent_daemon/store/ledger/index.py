"""Which records answer a question? A SQLite file made from the segments, which can be thrown away and made again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from eleagent.errors import StorageUnavailable, TamperFound
from eleagent.transparency.logfiles import LogFolder, lines, log_folders
from eleagent.wire.audit import AuditRecord, Phase
from eleagent_daemon.store.ledger.query import Query, conditions, micros

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

VERSION: Final = 1
BATCH: Final = 2000
ANALYZE_RECORDS: Final = 50_000
"""How often SQLite looks again at what is rare and what is common."""
_READ_BYTES: Final = 4096
_REMEMBERED: Final = 5000
_decoder = msgspec.json.Decoder(AuditRecord)
_SCHEMA: Final = """
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, log INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,
  actor INTEGER NOT NULL, behalf INTEGER NOT NULL, action INTEGER NOT NULL, object INTEGER NOT NULL,
  session INTEGER NOT NULL, decision INTEGER NOT NULL, host INTEGER NOT NULL, path INTEGER NOT NULL
) STRICT;
CREATE TABLE opened (boot TEXT NOT NULL) STRICT;
CREATE TABLE open_intents (seq INTEGER PRIMARY KEY) STRICT;
CREATE TABLE progress (
  log INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, seq INTEGER NOT NULL
) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (body, content='', columnsize=0);
"""


_INDEXES: Final = """
CREATE INDEX IF NOT EXISTS by_actor ON records (actor, seq);
CREATE INDEX IF NOT EXISTS by_behalf ON records (behalf, seq);
CREATE INDEX IF NOT EXISTS by_action ON records (action, seq);
CREATE INDEX IF NOT EXISTS by_object ON records (object, seq);
CREATE INDEX IF NOT EXISTS by_session ON records (session, seq);
CREATE INDEX IF NOT EXISTS by_host ON records (host, seq);
CREATE INDEX IF NOT EXISTS by_path ON records (path, seq);
CREATE INDEX IF NOT EXISTS by_time ON records (ts);
"""
"""Made when what is there already is in: one by one they cost a multiple."""


Found = tuple[int, int, bytes]
"""A record's seq, the number of its log, and the bytes that were hashed."""


class Index:
    """One connection, in one thread at a time. What is asked is answered after what the log has by then is in it."""

    def __init__(self, ledger: Path, *, durable: Callable[[], int | None], pool: ThreadPoolExecutor) -> None:
        """`durable` is the last seq that counts; None for all that can be read."""
        self._ledger = ledger
        self._durable = durable
        self._path = ledger / "index.db"
        self._pool = pool
        self._lock = asyncio.Lock()
        self._busy = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._ids: dict[str, int] = {}
        self.last_seq = 0

    async def catch_up(self, limit: int | None = None) -> int:
        """Take in what the log has, about `limit` records of it; returns the last seq that is in."""
        async with self._lock:
            return await self._run(lambda: self._catch_up(limit))

    async def find(
        self, query: Query, *, after: int, before: int | None, limit: int, newest: bool
    ) -> list[AuditRecord]:
        """Records between two seqs, oldest first: the first `limit` of them, or the `newest`. Raises BadRequest."""
        found = await self.find_lines(query, after=after, before=before, limit=limit, newest=newest)
        return [_decoder.decode(line) for _, _, line in found]

    async def find_lines(
        self, query: Query, *, after: int, before: int | None = None, limit: int, newest: bool = False
    ) -> list[Found]:
        """As `find`, as they are in the files."""
        async with self._lock:
            return await self._run(lambda: self._find(query, after, before, limit, newest))

    async def open_intents(self) -> list[AuditRecord]:
        """Intents that have no outcome."""

        def read() -> list[AuditRecord]:
            self._catch_up()
            places = "SELECT seq, log, segment, place FROM records JOIN open_intents USING (seq) ORDER BY seq"
            return [_decoder.decode(line) for _, _, line in self._read(self._connection().execute(places))]

        async with self._lock:
            return await self._run(read)

    async def forget(self) -> None:
        """Make it anew at the next question: records were dropped."""

        def drop() -> None:
            self._shut()
            for path in self._ledger.glob("index.db*"):
                path.unlink()

        async with self._lock:
            await self._run(drop)

    async def close(self) -> None:
        async with self._lock:
            await self._run(self._shut)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        """Who is cancelled lets go of `_lock` while the thread is still at it."""

        def alone() -> _Result:
            with self._busy:
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, alone)
        except (sqlite3.Error, OSError) as err:
            raise StorageUnavailable(f"the audit log's index {self._path} can't be used: {err}") from err

    def _shut(self) -> None:
        self._ids.clear()
        if self._db is not None:
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("DELETE FROM opened")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._open()
            except sqlite3.DatabaseError:
                log.warning("%s can't be read and is made again", self._path)
                for path in self._ledger.glob("index.db*"):
                    path.unlink()
                self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")  # it can be made again, and must not hold up the log's own syncs
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError("made by another release")  # noqa: TRY301 - the same as one that is spoilt
            if not version:
                db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            left = db.execute("SELECT boot FROM opened").fetchone()
            if left and left[0] != boot:
                raise sqlite3.DatabaseError("the machine went down over it")  # noqa: TRY301 - so it may be spoilt
            db.execute("DELETE FROM opened")
            db.execute("INSERT INTO opened VALUES (?)", (boot,))
        except BaseException:
            db.close()
            raise
        return db

    def _catch_up(self, limit: int | None = None) -> int:
        db = self._connection()
        at = db.execute("SELECT log, segment, place, seq FROM progress").fetchone() or (0, 0, 0, 0)
        seq = int(at[3])
        batch: list[tuple[AuditRecord, int, int, int]] = []
        grown = 0
        durable = self._durable()
        for item in self._behind(*at[:3]):
            if durable is not None and item[0].seq > durable:
                break
            batch.append(item)
            if len(batch) == BATCH:
                seq, grown, batch = self._store(db, batch), grown + BATCH, []
                if limit is not None and grown >= limit:
                    break
        if batch:
            seq = self._store(db, batch)
        self.last_seq = seq
        if limit is None or grown < limit:
            db.executescript(_INDEXES)
        if seq // ANALYZE_RECORDS != int(at[3]) // ANALYZE_RECORDS:
            db.execute("PRAGMA analysis_limit=1000")
            db.execute("ANALYZE")
        return seq

    def _behind(self, number: int, segment: int, place: int) -> Iterator[tuple[AuditRecord, int, int, int]]:
        """(record, log, segment, place) of what is not in yet. What can't be read is left out; verify names it."""
        for path in log_folders(self._ledger):
            folder = LogFolder(path)
            if folder.number < number:
                continue
            for first, file in folder.segments():
                if (folder.number, first) < (number, segment):
                    continue
                begin = place if (folder.number, first) == (number, segment) else 0
                for line in lines(file, begin):
                    if line[-1:] != b"\n":
                        break
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                        yield _decoder.decode(line), folder.number, first, begin
                    begin += len(line)

    def _store(self, db: sqlite3.Connection, batch: list[tuple[AuditRecord, int, int, int]]) -> int:
        rows, words, opened, closed, belong = [], [], [], [], []
        db.execute("BEGIN IMMEDIATE")
        try:
            for record, number, segment, place in batch:
                names = (
                    record.actor, record.behalf, record.action, record.object, record.session, record.decision,
                    record.details.get("host", ""), record.details.get("path", ""),
                )  # fmt: skip
                rows.append((record.seq, micros(record.ts), number, segment, place, *map(self._id, names)))
                words.append((record.seq, " ".join(filter(None, (*names, record.outcome, *record.details.values())))))
                if record.phase == Phase.INTENT:
                    opened.append((record.seq,))
                elif record.intent is not None:
                    closed.append((record.intent,))
                    if record.session:
                        belong.append((self._id(record.session), record.intent))
            marks = ",".join("?" * 13)
            db.executemany(f"INSERT OR REPLACE INTO records VALUES ({marks})", rows)  # noqa: S608 - only marks
            db.executemany("INSERT INTO words (rowid, body) VALUES (?, ?)", words)
            db.executemany("INSERT OR IGNORE INTO open_intents VALUES (?)", opened)
            db.executemany("DELETE FROM open_intents WHERE seq = ?", closed)
            # what was asked before a session had a key belongs to it
            db.executemany("UPDATE records SET session = ? WHERE seq = ?", belong)
            last = batch[-1]
            end = last[3] + len(_line_at(self._file(last[1], last[2]), last[3]))
            db.execute("DELETE FROM progress")
            db.execute("INSERT INTO progress VALUES (?, ?, ?, ?)", (last[1], last[2], end, last[0].seq))
        except BaseException:
            db.execute("ROLLBACK")
            self._ids.clear()
            raise
        db.execute("COMMIT")
        return last[0].seq

    def _id(self, text: str) -> int:
        """The number of a text; the memory of them is small, the table is not."""
        if (known := self._ids.get(text)) is not None:
            return known
        db = self._connection()
        found = db.execute("SELECT id FROM texts WHERE text = ?", (text,)).fetchone()
        number = int(
            found[0] if found else db.execute("INSERT INTO texts (text) VALUES (?) RETURNING id", (text,)).fetchone()[0]
        )
        if len(self._ids) > _REMEMBERED:
            self._ids.clear()
        self._ids[text] = number
        return number

    def _find(self, query: Query, after: int, before: int | None, limit: int, newest: bool) -> list[Found]:
        self._catch_up()
        db = self._connection()
        where, values = ["seq > ?"], [after]
        if before is not None:
            where.append("seq < ?")
            values.append(before)
        for condition, value in conditions(query):
            where.append(condition)
            values += value
        order = "DESC" if newest else "ASC"
        statement = (
            f"SELECT seq, log, segment, place FROM records WHERE {' AND '.join(where)} "  # noqa: S608
            f"ORDER BY seq {order} LIMIT ?"
        )
        rows = db.execute(statement, (*values, limit)).fetchall()
        return list(self._read(iter(sorted(rows))))

    def _read(self, rows: Iterator[tuple[int, int, int, int]]) -> Iterator[Found]:
        for seq, number, segment, place in rows:
            try:
                line = _line_at(self._file(number, segment), place)
                _decoder.decode(line)
                yield seq, number, line.rstrip(b"\n")
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                raise TamperFound(f"record {seq} is not where it was: see 'eleagent audit verify'") from None

    def _file(self, number: int, segment: int) -> Path:
        return self._ledger / f"log-{number:04d}" / "records" / f"{segment:016d}.jsonl"


def _line_at(path: Path, place: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _READ_BYTES
        while b"\n" not in (data := os.pread(fd, size, place)):
            if len(data) < size:
                return b""
            size *= 4
        return data[: data.index(b"\n") + 1]
    finally:
        os.close(fd)
