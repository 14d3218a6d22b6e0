"""What should hold the audit log: append-only segments or SQLite? The same records, made durable in the same groups.

Run it by itself: `python bench/audit_store.py`. It is why `store/ledger/` keeps segments.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

RECORD = (
    b'{"seq":123456,"ts":"2026-01-01T00:00:00.000000Z","phase":"intent","action":"session.stop",' + b" " * 400 + b"}\n"
)
GROUPS = (1, 32, 256)
ROUNDS = 200
PAIRS = 5


def segments(folder: Path) -> Callable[[int], None]:
    fd = os.open(folder / "records", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def commit(count: int) -> None:
        os.write(fd, RECORD * count)
        os.fdatasync(fd)

    return commit


def database(folder: Path) -> Callable[[int], None]:
    """A file of its own, WAL, synchronous=FULL, one writer."""
    connection = sqlite3.connect(folder / "records.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT")

    def commit(count: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO records (record) VALUES (?)", [(RECORD,)] * count)
        connection.execute("COMMIT")

    return commit


def median_ms(commit: Callable[[int], None], count: int) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        commit(count)
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-", dir="/var/tmp") as name:
        kept, asked = segments(Path(name)), database(Path(name))
        for count in GROUPS:
            pairs = [(median_ms(kept, count), median_ms(asked, count)) for _ in range(PAIRS)]
            ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
            print(
                f"{count:>4} a group: segments {ours:.2f} ms ({count / ours * 1000:,.0f}/s), "
                f"SQLite {theirs:.2f} ms ({count / theirs * 1000:,.0f}/s), ratio {ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
