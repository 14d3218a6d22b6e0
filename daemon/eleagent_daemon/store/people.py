"""Who is in the organization, with which role? The truth about users, in auth.db and in memory."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Final

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent.permissions import Role
from eleagent_daemon.store.database import Change, Database
from eleagent_daemon.store.registry import ORGANIZATION
from eleagent_daemon.store.timeline import now


class UserState(StrEnum):
    """A removed user's row stays, so that nobody ever gets the name, and with it what was theirs."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REMOVED = "removed"


class Source(StrEnum):
    """Where a membership comes from: somebody gave it, it is the machine's own account's, or the Unix group says so."""

    GIVEN = "given"
    SYSTEM = "system"
    GROUP = "group"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`unix_uid` is whose peer on the socket is this user; `password` the argon2id hash, empty where there is none."""

    name: str
    role: Role
    id: str = ""
    source: Source = Source.GIVEN
    full_name: str = ""
    state: UserState = UserState.ACTIVE
    unix_uid: int | None = None
    unix_user: str = ""
    password: str = ""
    password_changed: str | None = None
    created: str = ""

    @property
    def active(self) -> bool:
        return self.state is UserState.ACTIVE


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """`initialized` is when `eleagent init` gave it its first owner."""

    id: str
    name: str
    created: str
    initialized: str | None = None


_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_SELECT: Final = (
    "SELECT users.*, memberships.role, memberships.source FROM users JOIN memberships ON memberships.user = users.id"
    " WHERE memberships.organization = ?"
)


class People:
    """The members of one organization."""

    def __init__(self, *, database: Database, organization: Organization, users: list[User]) -> None:
        self._db = database
        self.organization = organization
        self._users: dict[str, User] = {}
        self._names: dict[str, str] = {}
        self._uids: dict[int, str] = {}
        for user in users:
            self._keep(user)

    @classmethod
    async def open(cls, database: Database, *, organization: str = ORGANIZATION) -> People:
        async with database.change() as change:
            change.execute(
                "INSERT INTO organizations (id, name, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (organization, organization, now()),
            )
        (row,) = await database.rows("SELECT * FROM organizations WHERE id = ?", (organization,))
        rows = await database.rows(_SELECT, (organization,))
        return cls(
            database=database,
            organization=msgspec.convert(dict(row), Organization),
            users=[msgspec.convert(dict(row), User) for row in rows],
        )

    def list_users(self) -> list[User]:
        """By name; those who were removed are no members."""
        present = (user for user in self._users.values() if user.state is not UserState.REMOVED)
        return sorted(present, key=lambda user: user.name)

    def find(self, name: str) -> User | None:
        user = self._users.get(self._names.get(name, ""))
        return user if user is not None and user.state is not UserState.REMOVED else None

    def get(self, name: str) -> User:
        """Raises NotFound."""
        if (user := self.find(name)) is None:
            raise NotFound(f"no user {name!r}: eleagent user ls lists them")
        return user

    def find_by_id(self, identifier: str) -> User | None:
        """Also one that was removed."""
        return self._users.get(identifier)

    def find_by_uid(self, uid: int) -> User | None:
        return self._users.get(self._uids.get(uid, ""))

    async def initialize(self, name: str, first: User) -> User:
        """Name the organization and give it its first owner, who may be a user already, once.

        Raises Conflict when that was done before.
        """
        async with self._db.change() as change:
            if self.organization.initialized is not None:
                raise Conflict(
                    f"organization {self.organization.name!r} was initialized at {self.organization.initialized}"
                    " already: eleagent user ls lists who is in it"
                )
            known = self.find(first.name)
            user = self._put(change, msgspec.structs.replace(first, id=known.id if known else first.id))
            founded = msgspec.structs.replace(self.organization, name=name, initialized=now())
            change.execute(
                "UPDATE organizations SET name = ?, initialized = ? WHERE id = ?",
                (founded.name, founded.initialized, founded.id),
            )
            change.then(lambda: setattr(self, "organization", founded))
        return user

    async def rename_organization(self, name: str) -> Organization:
        async with self._db.change() as change:
            renamed = msgspec.structs.replace(self.organization, name=name)
            change.execute("UPDATE organizations SET name = ? WHERE id = ?", (name, renamed.id))
            change.then(lambda: setattr(self, "organization", renamed))
        return renamed

    async def create_user(self, user: User) -> User:
        """Raises Conflict for a name or a Unix account that is or was somebody's."""
        async with self._db.change() as change:
            if user.name in self._names:
                removed = "; it was a removed user's" if self.find(user.name) is None else ""
                raise Conflict(f"a user is named {user.name!r} already{removed}: choose another name")
            return self._put(change, user)

    async def update_user(self, name: str, **changes: object) -> User:
        """Raises NotFound, and Conflict for what would leave the organization without an owner who can act."""
        taken = {"state"} == changes.keys() and changes["state"] is not UserState.ACTIVE
        async with self._db.change(take_away=taken) as change:
            before = self.get(name)
            after = msgspec.structs.replace(before, **changes)
            if not (after.role is Role.OWNER and after.active) and self._only_owner(before):
                raise Conflict(f"{name} is the only owner: make another user owner first")
            return self._put(change, after)

    async def transfer(self, giver: str, taker: str) -> User:
        """Make `taker` owner and `giver`, where that is a user who was owner by gift, admin: both or neither."""
        async with self._db.change() as change:
            new = self._put(change, msgspec.structs.replace(self.get(taker), role=Role.OWNER))
            old = self.find(giver)
            if old is not None and old.role is Role.OWNER and old.source is Source.GIVEN and old.id != new.id:
                self._put(change, msgspec.structs.replace(old, role=Role.ADMIN))
        return new

    async def dissolve(self) -> None:
        """Remove everybody but the machine's own accounts; the organization waits for a first owner again."""
        async with self._db.change() as change:
            for user in self.list_users():
                if user.source is not Source.SYSTEM:
                    self._put(change, msgspec.structs.replace(user, state=UserState.REMOVED, password=""))
            empty = msgspec.structs.replace(self.organization, initialized=None)
            change.execute("UPDATE organizations SET initialized = NULL WHERE id = ?", (empty.id,))
            change.then(lambda: setattr(self, "organization", empty))

    def _only_owner(self, user: User) -> bool:
        """The machine's own accounts don't count: who is owner by name must stay able to come in by name."""
        owners = [
            one
            for one in self._users.values()
            if one.role is Role.OWNER and one.active and one.source is not Source.SYSTEM
        ]
        return owners == [user]

    def _put(self, change: Change, user: User) -> User:
        """Store the user as it is now."""
        if user.unix_uid is not None and (other := self.find_by_uid(user.unix_uid)) and other.id != user.id:
            raise Conflict(f"Unix account {user.unix_user} (uid {user.unix_uid}) is user {other.name} already")
        stored = msgspec.structs.replace(user, id=user.id or _fresh_id(), created=user.created or now())
        change.execute(
            "INSERT INTO users (id, name, full_name, state, unix_uid, unix_user, password, password_changed, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name,"
            " state = excluded.state, unix_uid = excluded.unix_uid, unix_user = excluded.unix_user,"
            " password = excluded.password, password_changed = excluded.password_changed",
            (stored.id, stored.name, stored.full_name, stored.state, stored.unix_uid, stored.unix_user, stored.password,
             stored.password_changed, stored.created),
        )  # fmt: skip
        change.execute(
            "INSERT INTO memberships (organization, user, role, source) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET role = excluded.role, source = excluded.source",
            (self.organization.id, stored.id, stored.role, stored.source),
        )
        change.then(lambda: self._keep(stored))
        return stored

    def _keep(self, user: User) -> None:
        before = self._users.get(user.id)
        if before is not None and before.unix_uid is not None:
            self._uids.pop(before.unix_uid, None)
        self._users[user.id] = user
        self._names[user.name] = user.id
        if user.unix_uid is not None and user.state is not UserState.REMOVED:
            self._uids[user.unix_uid] = user.id


def _fresh_id() -> str:
    """An id that nobody had: `u-` and 10 base32 characters."""
    return "u-" + "".join(secrets.choice(_BASE32) for _ in range(10))
