"""Is what was accepted kept once, under one name, with a user of its own?"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import BadRequest, Conflict, NotFound, StorageUnavailable, Unavailable
from eleagent.permissions import Reach
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.domain.lifecycle import IllegalMove
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID
from eleagent_daemon.store import database
from eleagent_daemon.store import registry as module
from eleagent_daemon.store.registry import PROJECT, CallerIdentity, Record, Registry

CALLER = CallerIdentity(uid=1000, gid=1000, groups=[4, 27])

ALL = Sight(reach=Reach.ANY, user="ada")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = await Registry.open(tmp_path / "registry.db")
    yield opened
    await opened.close()


async def create(
    registry: Registry, *, name: str = "", owner: str = "ada", token: str | None = None
) -> tuple[Record, bool]:
    session = Session(
        key="", name=name, state=State.QUEUED, agent="command", owner=owner, created="2026-01-01T00:00:00Z"
    )
    return await registry.create_session(session, SessionCreate(agent="command", argv=["x"]), CALLER, token=token)


async def end(registry: Registry, record: Record) -> None:
    await registry.update(msgspec.structs.replace(record.session, state=State.STOPPED))


async def test_registry_keeps_what_was_accepted_over_a_restart(tmp_path: Path, registry: Registry) -> None:
    record, fresh = await create(registry, name="nightly")
    assert fresh
    for state in (State.STARTING, State.RUNNING):
        await registry.update(msgspec.structs.replace(record.session, state=state), attempt=2)
    again = await Registry.open(tmp_path / "registry.db")
    kept = await again.get(record.session.key)
    assert kept == msgspec.structs.replace(
        record, attempt=2, session=msgspec.structs.replace(record.session, state=State.RUNNING)
    )
    assert (kept.caller, kept.request.argv) == (CALLER, ["x"])
    await again.close()
    assert (tmp_path / "registry.db").stat().st_mode & 0o777 == 0o600


async def test_registry_idempotency_key_returns_the_first(registry: Registry) -> None:
    first, _ = await create(registry, token="t")
    assert await create(registry, token="t") == (first, False)
    other, fresh = await create(registry, token="t", owner="bob")
    assert fresh, "a token is its owner's"
    assert other.session.key != first.session.key
    await end(registry, first)
    repeated, fresh = await create(registry, token="t")
    assert (repeated.session.key, fresh) == (first.session.key, False), "it stays the first when that has ended"


async def test_registry_forgets_an_idempotency_key_after_a_day(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await create(registry, token="t")
    monkeypatch.setattr(module, "KEY_KEPT", -timedelta(seconds=1))
    second, fresh = await create(registry, token="t")
    assert fresh
    assert second.session.key != first.session.key


async def test_registry_concurrent_repeats_make_one_session(registry: Registry) -> None:
    made = await asyncio.gather(*(create(registry, token="t") for _ in range(10)))
    assert sum(fresh for _, fresh in made) == 1
    assert len({record.session.key for record, _ in made}) == 1


async def test_registry_live_name_is_unique_and_free_again_after_the_end(registry: Registry) -> None:
    first, _ = await create(registry, name="nightly")
    with pytest.raises(Conflict, match="'nightly' already"):
        await create(registry, name="nightly", token="t")
    assert len(await registry.live()) == 1
    await end(registry, first)
    second, fresh = await create(registry, name="nightly", token="t")
    assert fresh, "a refused session left no idempotency key behind"
    assert await registry.find_key("nightly", ALL) == second.session.key


async def test_registry_names_are_their_owners_and_tell_nobody_of_others(registry: Registry) -> None:
    adas, _ = await create(registry, name="nightly")
    bobs, _ = await create(registry, owner="bob", name="nightly")
    posing, _ = await create(registry, owner="bob", name=adas.session.key)
    everything = Sight(reach=Reach.ANY, user="eve")
    for user, mine in (("ada", adas), ("bob", bobs)):
        assert await registry.find_key("nightly", Sight(reach=Reach.ANY, user=user)) == mine.session.key
    assert await registry.find_key("nightly", everything) == bobs.session.key, "the newest of others'"
    for user in ("ada", "bob", "eve"):
        found = await registry.find_key(adas.session.key, Sight(reach=Reach.ANY, user=user))
        assert found == adas.session.key != posing.session.key, "no name passes for a key"


async def test_registry_renamed_session_is_found_by_its_name_alone(registry: Registry) -> None:
    first, _ = await create(registry, name="one")
    second, _ = await create(registry, name="two")
    with pytest.raises(Conflict, match="a live session of yours is named 'one' already"):
        await registry.rename(second.session.key, "one")
    assert (await registry.rename(first.session.key, "three")).name == "three"
    assert await registry.find_key("three", ALL) == first.session.key
    with pytest.raises(NotFound):
        await registry.find_key("one", ALL)
    assert (await registry.get(first.session.key)).session.name == "three"


async def test_registry_session_without_a_name_is_named_by_its_key(registry: Registry) -> None:
    record, _ = await create(registry)
    assert record.session.name == record.session.key


async def test_registry_no_two_live_sessions_share_a_user(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_SIZE", 4)
    records = [record for record, _ in await asyncio.gather(*(create(registry) for _ in range(4)))]
    assert sorted(record.uid for record in records) == [POOL_FIRST_UID + number for number in range(4)]
    with pytest.raises(Unavailable, match="all 4 users of the pool"):
        await create(registry)
    await end(registry, records[2])
    next_one, _ = await create(registry)
    assert next_one.uid == records[2].uid


async def test_registry_resolves_what_a_person_means(registry: Registry) -> None:
    mine, _ = await create(registry, name="nightly")
    last, _ = await create(registry)
    other, _ = await create(registry, owner="bob", name="b")
    for text, meant in [
        ("@", last),
        (mine.session.key, mine),
        ("nightly", mine),
        (mine.session.key[:7], mine),
        (mine.session.key[2:9], mine),
        ("b", other),
    ]:
        assert await registry.find_key(text, ALL) == meant.session.key, text


async def test_registry_newest_of_a_name_is_meant_and_a_live_one_before_it(registry: Registry) -> None:
    first, _ = await create(registry, name="n")
    await end(registry, first)
    second, _ = await create(registry, name="n")
    assert await registry.find_key("n", ALL) == second.session.key


async def test_registry_ambiguous_prefix_names_the_candidates(registry: Registry) -> None:
    one, _ = await create(registry)
    two, _ = await create(registry)
    with pytest.raises(BadRequest) as refused:
        await registry.find_key("s-", ALL)
    assert one.session.key in refused.value.message
    assert two.session.key in refused.value.message


@pytest.mark.parametrize("text", ["nobody", "s-", "s-%", "_", "%", "s-__________", "' OR 1=1 --"])
async def test_registry_nothing_is_found_by_what_is_no_prefix(registry: Registry, text: str) -> None:
    if text != "s-":
        await create(registry)
    with pytest.raises(NotFound, match="eleagent ps -a"):
        await registry.find_key(text, ALL)


async def test_registry_last_of_someone_without_sessions_is_not_found(registry: Registry) -> None:
    await create(registry, owner="bob")
    with pytest.raises(NotFound, match="eleagent run"):
        await registry.find_key("@", ALL)
    with pytest.raises(NotFound):
        await registry.get("s-aaaaaaaaaa")


@pytest.mark.parametrize("reach", Reach)
@pytest.mark.parametrize("within", [None, frozenset({"apollo"}), frozenset({"zeus"})])
async def test_registry_shows_what_a_sight_reaches(
    registry: Registry, reach: Reach, within: frozenset[str] | None
) -> None:
    sight = Sight(reach=reach, user="ada", projects=frozenset({"default"}), within=within)
    records = [(await create(registry, owner=owner))[0] for owner in ("ada", "bob", "ada")]
    things = [Owned(id=one.session.key, owner=one.session.owner, project=PROJECT) for one in records]
    reached = [thing.id for thing in things if sight.reaches(thing)]
    assert [one.key for one in await registry.list_sessions(sight, live_only=False, limit=10)] == reached[::-1]
    for thing in things:
        for text in (thing.id, thing.id[:9]):
            if thing.id in reached:
                assert await registry.find_key(text, sight) == thing.id
            else:
                with pytest.raises(NotFound, match=f"no session '{text}'"):
                    await registry.find_key(text, sight)


async def test_registry_name_is_looked_for_in_sight_alone(registry: Registry) -> None:
    mine, _ = await create(registry, name="nightly")
    await end(registry, mine)
    await create(registry, owner="bob", name="nightly")
    assert await registry.find_key("nightly", Sight(reach=Reach.OWN, user="ada")) == mine.session.key


async def test_registry_lists_newest_first_and_live_ones_alone(registry: Registry) -> None:
    records = [record for record, _ in [await create(registry) for _ in range(3)]]
    await end(registry, records[1])
    keys = [record.session.key for record in records]
    everything = await registry.list_sessions(ALL, live_only=False, limit=10)
    assert [session.key for session in everything] == keys[::-1]
    assert [session.key for session in await registry.list_sessions(ALL, live_only=True, limit=10)] == [
        keys[2],
        keys[0],
    ]
    assert [session.key for session in await registry.list_sessions(ALL, live_only=False, limit=1)] == [keys[2]]
    assert [record.session.key for record in await registry.live()] == [keys[0], keys[2]]


async def test_registry_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "registry.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(Unavailable, match=r"newer release \(schema 99, this one knows \d+\)"):
        await Registry.open(tmp_path / "registry.db")


async def test_registry_of_an_older_release_is_backed_up_whole_and_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await Registry.open(tmp_path / "registry.db")
    await create(old)  # it is in the write-ahead log alone
    scripts = database.migrations("registry")
    newest = max(scripts)
    later = f"BEGIN; CREATE TABLE later (x); PRAGMA user_version = {newest + 1}; COMMIT;"
    scripts = scripts | {newest + 1: later}
    monkeypatch.setattr(database, "migrations", lambda _: scripts)
    new = await Registry.open(tmp_path / "registry.db")
    assert len(await new.live()) == 1
    await new.close()
    await old.close()
    backup = tmp_path / f"registry.v{newest}.bak"
    assert backup.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(backup) as kept:
        assert kept.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
        assert kept.execute("PRAGMA user_version").fetchone() == (newest,)
    kept.close()


async def test_registry_stores_no_move_that_the_table_lacks(registry: Registry) -> None:
    record, _ = await create(registry)
    with pytest.raises(IllegalMove, match="that is queued can't become running"):
        await registry.update(msgspec.structs.replace(record.session, state=State.RUNNING))
    assert (await registry.get(record.session.key)).session.state is State.QUEUED
    with pytest.raises(NotFound):
        await registry.update(msgspec.structs.replace(record.session, key="s-nobodynobo"))


async def test_registry_on_a_full_disk_says_so_and_goes_on_when_there_is_room(registry: Registry) -> None:
    record, _ = await create(registry)
    async with registry._db.execute("PRAGMA page_count") as cursor:
        (pages,) = await cursor.fetchone()
    await registry._db.execute(f"PRAGMA max_page_count={pages}")
    big = msgspec.structs.replace(record.session, title="x" * (1 << 20))
    with pytest.raises(StorageUnavailable, match=r"the daemon's database can't be written: .*full"):
        await registry.update(big)
    assert (await registry.get(record.session.key)).session.title == record.session.title
    await registry._db.execute("PRAGMA max_page_count=1000000")
    await registry.update(big)
    assert (await registry.get(record.session.key)).session.title == big.title


async def test_registry_goes_on_after_a_writer_was_cancelled_at_any_moment(registry: Registry) -> None:
    record, _ = await create(registry)
    for steps in range(20):
        task = asyncio.create_task(registry.update(record.session))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await registry.update(record.session)
