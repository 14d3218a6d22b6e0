"""Is what a session left deleted when its time has come, whole, and not before?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from eleagent.errors import Conflict, LauncherUnavailable, NotFound
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.domain.launch import Done, Remove
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.conversations import Conversations
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import CallerIdentity, Registry
from eleagent_daemon.store.timeline import Timelines


class Launcher:
    """What forgets disks; `away` plays one that can't be reached."""

    def __init__(self) -> None:
        self.forgot: list[str] = []
        self.away = False

    async def ask(self, verb: Remove, expected: type[Done]) -> Done:
        if self.away:
            raise LauncherUnavailable("it is away")
        assert verb.forget
        self.forgot.append(verb.session)
        return expected()


class Archive:
    def __init__(self, folder: Path, registry: Registry, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.registry = registry
        self.launcher = Launcher()
        self.retention = Retention(
            registry=registry,
            timelines=Timelines(folder=folder / "logs", pool=pool),
            artefacts=Artefacts(folder=folder / "sessions", pool=pool),
            conversations=Conversations(folder=folder / "conversations", pool=pool),
            launcher=cast(Any, self.launcher),
            ledger=ledger,
            keep_days=90,
        )

    async def session(self, *, days_ago: float | None) -> str:
        """One that ended then, or lives; with all that a session leaves."""
        session = Session(
            key="", name="", state=State.QUEUED, agent="claude", owner="ada", created="2026-01-01T00:00:00Z"
        )
        caller = CallerIdentity(uid=1, gid=1, groups=[])
        record, _ = await self.registry.create_session(session, SessionCreate(prompt="x"), caller, token=None)
        key = record.session.key
        for path in (f"logs/{key}.jsonl", f"sessions/{key}/files/a.txt", f"conversations/{key}.md"):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text("x")
        connection, _ = self.registry.shared()
        used = ", ".join(["?"] * 8 + ["1"] * 9)
        texts = (key, "m", "2026-01-01", "ada", "", "", "claude", 0)
        await connection.execute(f"INSERT INTO usage VALUES ({used})", texts)
        if days_ago is not None:
            ended = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat().replace("+00:00", "Z")
            await self.registry.update(msgspec.structs.replace(record.session, state=State.STOPPED, ended=ended))
        return key

    def left(self, key: str) -> list[Path]:
        return [path for path in self.folder.rglob("*") if key in str(path)]


@pytest.fixture
async def archive(tmp_path: Path, pool: ThreadPoolExecutor) -> AsyncIterator[Archive]:
    registry = await Registry.open(tmp_path / "registry.db")
    ledger = await Ledger.open(tmp_path / "ledger", secrets=tmp_path / "secrets", installation="test", pool=pool)
    yield Archive(tmp_path, registry, ledger, pool)
    await ledger.close()
    await registry.close()


async def swept(archive: Archive) -> None:
    """One round of the daily sweep."""
    sweep = asyncio.create_task(archive.retention.run())
    for _ in range(100):
        await asyncio.sleep(0.01)
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)


async def test_removed_session_leaves_nothing_but_the_audit_log(archive: Archive) -> None:
    key, other = await archive.session(days_ago=0), await archive.session(days_ago=0)
    await archive.retention.remove(key)
    assert (archive.left(key), archive.launcher.forgot) == ([], [key])
    assert len(archive.left(other)) > 0
    connection, _ = archive.registry.shared()
    async with connection.execute("SELECT count(*) FROM usage WHERE session=?", (key,)) as cursor:
        assert tuple(await cursor.fetchone() or ()) == (1,), "what was spent stays"
    with pytest.raises(NotFound):
        await archive.registry.get(key)


async def test_session_that_lives_is_not_removed(archive: Archive) -> None:
    key = await archive.session(days_ago=None)
    with pytest.raises(Conflict, match="stop it first"):
        await archive.retention.remove(key)
    assert len(archive.left(key)) > 0


async def test_removal_that_broke_off_can_be_asked_again(archive: Archive) -> None:
    key = await archive.session(days_ago=0)
    archive.launcher.away = True
    with pytest.raises(LauncherUnavailable):
        await archive.retention.remove(key)
    archive.launcher.away = False
    await archive.retention.remove(key)
    assert archive.left(key) == []


async def test_sweep_takes_what_was_kept_long_enough_and_says_so(archive: Archive) -> None:
    old, young, alive = [await archive.session(days_ago=days) for days in (91, 89, None)]
    session = (await archive.registry.get(young)).session
    until = archive.retention.announced(session).deletion_due
    assert until is not None
    assert timedelta(0) < datetime.fromisoformat(until) - datetime.now(UTC) < timedelta(days=1.1)
    await swept(archive)
    assert archive.launcher.forgot == [old]
    assert [bool(archive.left(key)) for key in (old, young, alive)] == [False, True, True]
    log = b"".join(path.read_bytes() for path in (archive.folder / "ledger").rglob("*") if path.is_file())
    assert b"session.remove" in log
    assert b"kept 90 days" in log
