"""Does what takes away count on a disk without room, at once and for good, and is it written when there is some?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import Conflict, NotFound, StorageUnavailable
from eleagent.permissions import Role
from eleagent.wire.approvals import Approval, ApprovalKind, ApprovalState, Deciding, Delivery, Grant
from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID
from eleagent_daemon.store.apikeys import Bounds, KeyRow, KeyRows
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.database import Database
from eleagent_daemon.store.logins import LoginRow, LoginRows
from eleagent_daemon.store.people import People, User, UserState
from eleagent_daemon.store.registry import CallerIdentity, Registry, Reservation

from ..smalldisk import fill, mounts, small_disk

pytestmark = mounts

AT = 1_800_000_000.0
ASKED = Approval(
    id="a-first", session="s-one", owner="ada", agent="claude", policy="careful", kind=ApprovalKind.HOST,
    subject="example.org:443", asked="2026-01-01T00:00:00Z",
)  # fmt: skip
DENIED = msgspec.structs.replace(
    ASKED, state=ApprovalState.DENIED, by_user="bob", delivery=Delivery.PENDING, decided_by=Deciding.PERSON
)
GRANT = Grant(
    id="g-first", owner="ada", agent="claude", policy="careful", kind=ApprovalKind.HOST, subject="example.com:443",
    parameters="", approval="a-old", by_user="bob", created="2026-01-01T00:00:00Z",
)  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@dataclass
class Stores:
    auth: Database
    people: People
    keys: KeyRows
    logins: LoginRows
    registry: Registry
    approvals: ApprovalStore


@asynccontextmanager
async def opening(disk: Path) -> AsyncIterator[Stores]:
    auth = await Database.open(disk / "auth.db", schema="auth")
    registry = await Registry.open(disk / "registry.db")
    try:
        yield Stores(
            auth=auth,
            people=await People.open(auth),
            keys=await KeyRows.open(auth),
            logins=await LoginRows.open(auth),
            registry=registry,
            approvals=ApprovalStore(registry=registry),
        )
    finally:
        await auth.close()
        await registry.close()


async def furnish(stores: Stores) -> None:
    """A key, a login, a user, a question and a grant, each to be taken away."""
    user = await stores.people.create_user(User(name="bob", role=Role.MEMBER))
    await stores.keys.add(
        KeyRow(
            id="k1", user=user.id, note="x", grp="", bounds=Bounds(scopes=frozenset()), hash=b"h", pepper="1",
            created=AT, expires=AT,
        )
    )  # fmt: skip
    await stores.logins.add(
        LoginRow(
            id="l1", user=user.id, created=AT, confirmed=AT, seen=AT, expires=AT, refresh=b"r", pepper="1"
        )
    )  # fmt: skip
    caller = CallerIdentity(uid=1, gid=1, groups=[])
    session = Session(key="", name="", state=State.QUEUED, agent="claude", owner="ada", created="2026-01-01T00:00:00Z")
    reserved = Reservation(ASKED.session, POOL_FIRST_UID)
    await stores.registry.create_session(session, SessionCreate(prompt="x"), caller, token=None, reserved=reserved)
    old = msgspec.structs.replace(ASKED, id="a-old", subject=GRANT.subject)
    for one in (old, ASKED):
        await stores.approvals.add(one)
    await stores.approvals.close(
        msgspec.structs.replace(old, state=ApprovalState.ALLOWED, delivery=Delivery.DELIVERED), grant=GRANT
    )


async def take_away(stores: Stores) -> None:
    await stores.keys.revoke(["k1"], AT)
    await stores.logins.end(["l1"], at=AT, why="revoked by ada")
    await stores.people.update_user("bob", state=UserState.DISABLED)
    await stores.approvals.close(DENIED)
    await stores.approvals.revoke("g-first", by="ada", at="2026-01-02T00:00:00Z")


async def assert_taken_away(stores: Stores) -> None:
    assert stores.keys.find("k1") is None
    assert stores.logins.find("l1") is None
    assert stores.people.get("bob").state is UserState.DISABLED
    assert await stores.approvals.get("a-first") == DENIED
    assert await stores.approvals.list_approvals(open_only=True, session=None, limit=9) == []
    assert await stores.approvals.pending("s-one") == [DENIED]
    assert await stores.approvals.find_same(ASKED) == DENIED
    with pytest.raises(Conflict, match="was denied by bob"):
        await stores.approvals.close(DENIED)
    assert await stores.approvals.list_grants(everything=False) == []
    assert await stores.approvals.find_grant(msgspec.structs.replace(ASKED, subject=GRANT.subject)) is None
    with pytest.raises(Conflict, match="revoked by ada"):
        await stores.approvals.revoke("g-first", by="bob", at="2026-01-03T00:00:00Z")


async def assert_gives_nothing(stores: Stores) -> None:
    with pytest.raises(StorageUnavailable, match="full"):
        await stores.people.create_user(User(name="eve", role=Role.MEMBER))
    with pytest.raises(StorageUnavailable, match="full"):
        await stores.people.update_user("bob", state=UserState.ACTIVE)
    with pytest.raises(StorageUnavailable, match="full"):
        await stores.approvals.add(msgspec.structs.replace(ASKED, id="a-second"))
    with pytest.raises(NotFound):
        await stores.approvals.get("a-second")


async def test_full_disk_is_owed_what_was_taken_away_and_gets_it_when_there_is_room(disk: Path) -> None:
    async with opening(disk) as stores:
        await furnish(stores)
        filler = fill(disk)
        await take_away(stores)
        assert (stores.auth.owes, stores.registry.database.owes) == (True, True)
        await assert_taken_away(stores)
        await assert_gives_nothing(stores)
        running = [asyncio.create_task(one.run()) for one in (stores.auth, stores.registry.database)]
        filler.unlink()
        while stores.auth.owes or stores.registry.database.owes:
            await asyncio.sleep(0.05)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await assert_taken_away(stores)
        await stores.people.update_user("bob", state=UserState.ACTIVE)
        await stores.approvals.deliver("a-first", Delivery.DELIVERED)
    async with opening(disk) as again:
        assert again.people.get("bob").active, "what was owed is not taken away twice"
        assert (await again.approvals.get("a-first")).delivery is Delivery.DELIVERED
        assert again.keys.find("k1") is None


async def test_change_on_a_disk_with_room_again_comes_after_what_is_owed(disk: Path) -> None:
    async with opening(disk) as stores:
        await furnish(stores)
        filler = fill(disk)
        await take_away(stores)
        filler.unlink()
        await stores.people.update_user("bob", state=UserState.ACTIVE)
        await stores.approvals.deliver("a-first", Delivery.DELIVERED)
        assert (stores.auth.owes, stores.registry.database.owes) == (False, False)
    async with opening(disk) as again:
        assert again.people.get("bob").active
        assert (await again.approvals.get("a-first")).delivery is Delivery.DELIVERED
        assert again.logins.find("l1") is None


async def test_what_was_taken_away_on_a_full_disk_does_not_come_back_with_the_next_daemon(disk: Path) -> None:
    async with opening(disk) as stores:
        await furnish(stores)
        filler = fill(disk)
        await take_away(stores)
        for name in ("auth.db", "registry.db"):
            copied = dict.fromkeys((name, f"{name}-wal", f"{name}-owed"))
            for one in copied:
                (disk.parent / one).write_bytes((disk / one).read_bytes())
    async with opening(disk.parent) as next_one:  # what a daemon leaves that dies
        await assert_taken_away(next_one)
    with pytest.raises(StorageUnavailable, match="full"):
        async with opening(disk):
            pass
    filler.unlink()
    async with opening(disk) as next_one:
        await assert_taken_away(next_one)


async def test_what_finds_no_place_on_the_slate_either_counts_as_long_as_the_daemon_lives(disk: Path) -> None:
    async with opening(disk) as stores:
        await furnish(stores)
        for name in ("auth.db-owed", "registry.db-owed"):
            (disk / name).unlink()
        filler = fill(disk)
        await take_away(stores)
        await assert_taken_away(stores)
        await assert_gives_nothing(stores)
        filler.unlink()
        await stores.people.create_user(User(name="eve", role=Role.MEMBER))
        await stores.approvals.add(msgspec.structs.replace(ASKED, id="a-second", subject="third"))
    async with opening(disk) as again:
        assert again.keys.find("k1") is None
        assert (await again.approvals.get("a-first")) == DENIED
