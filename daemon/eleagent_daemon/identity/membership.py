"""Who becomes a member, and what may be changed about one? The rules that a table of permissions can't say."""

from __future__ import annotations

import pwd
import re
from typing import Final

import msgspec

from eleagent.errors import BadRequest, Conflict, Refused
from eleagent.permissions import Role
from eleagent.wire.users import MembershipUpdate, Organization, OrganizationInit, UserCreate
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.identity.keys import ApiKeys
from eleagent_daemon.identity.logins import Logins
from eleagent_daemon.identity.passwords import Passwords
from eleagent_daemon.store.people import People, Source, User, UserState
from eleagent_daemon.store.timeline import now

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,62}")
_TEXT_CHARACTERS: Final = 100


class Membership:
    def __init__(self, *, people: People, passwords: Passwords, logins: Logins, keys: ApiKeys) -> None:
        self._people = people
        self._passwords = passwords
        self._logins = logins
        self._keys = keys

    async def find(self, name: str, sight: Sight) -> Owned:
        """The user of that name, where in sight. Raises NotFound."""
        thing = Owned(id=name, owner=name)
        self._people.get(name if sight.reaches(thing) else "")
        return thing

    def list_users(self, sight: Sight) -> list[User]:
        return [user for user in self._people.list_users() if sight.reaches(Owned(id=user.name, owner=user.name))]

    def describe_organization(self) -> Organization:
        members = self._people.list_users()
        found = self._people.organization
        return Organization(
            id=found.id,
            name=found.name,
            created=found.created,
            initialized=found.initialized,
            members=len(members),
            owners=[user.name for user in members if user.role is Role.OWNER and user.active],
        )

    async def initialize(self, wanted: OrganizationInit, asker: User) -> User:
        """Raises Conflict when it was done before."""
        _check_text("the organization's name", wanted.name, needed=True)
        if wanted.user is None or wanted.user == asker.name:
            source = Source.SYSTEM if asker.unix_uid == 0 else Source.GIVEN
            first = msgspec.structs.replace(asker, role=Role.OWNER, full_name=wanted.full_name, source=source)
        else:
            _check_name(wanted.user)
            first = User(name=wanted.user, role=Role.OWNER, full_name=wanted.full_name)
        _check_text("the full name", first.full_name)
        if wanted.unix_user is not None:
            first = _with_account(first, wanted.unix_user)
        if wanted.password is not None:
            if first.source is Source.SYSTEM:
                raise BadRequest(f"{first.name} comes in by the socket, not by a password: name a person with --user")
            first = await self._with_password(first, wanted.password)
        return await self._people.initialize(wanted.name, first)

    async def create(self, wanted: UserCreate) -> User:
        """Raises BadRequest and Conflict."""
        if self._people.organization.initialized is None:
            raise Conflict("the organization has no first owner yet: run eleagent init before you add users")
        _check_name(wanted.name)
        _check_text("the full name", wanted.full_name)
        user = User(name=wanted.name, role=Role(wanted.role), full_name=wanted.full_name)
        if wanted.unix_user is not None:
            user = _with_account(user, wanted.unix_user)
        if wanted.password is not None:
            user = await self._with_password(user, wanted.password)
        return await self._people.create_user(user)

    async def rename(self, name: str, full_name: str) -> User:
        _check_text("the full name", full_name)
        return await self._people.update_user(name, full_name=full_name)

    async def administer(self, name: str, wanted: MembershipUpdate) -> User:
        """Raises Refused for the machine's own accounts, Conflict for the only owner."""
        user = self._person(name)
        changes: dict[str, object] = {}
        if wanted.role is not None:
            changes |= {"role": Role(wanted.role), "source": Source.GIVEN}
        if wanted.state is not None:
            changes["state"] = UserState(wanted.state)
        if wanted.unix_user is not None:
            mapped = _with_account(user, wanted.unix_user)
            changes |= {"unix_user": mapped.unix_user, "unix_uid": mapped.unix_uid}
        user = await self._people.update_user(name, **changes)
        if not user.active:
            await self._logins.end_all(user, why="the user was disabled")
        if wanted.unlock:
            await self._logins.unlock(user)
        return user

    async def set_password(self, name: str, password: str, *, but: str) -> User:
        """`but` is the login that asks and goes on."""
        hashed = (await self._with_password(self._person(name), password)).password
        user = await self._people.update_user(name, password=hashed, password_changed=now())
        await self._logins.end_all(user, why="the password was changed", but=but)
        return user

    async def remove(self, name: str) -> User:
        self._person(name)
        user = await self._people.update_user(name, state=UserState.REMOVED, password="")
        await self._logins.end_all(user, why="the user was removed")
        await self._keys.revoke_all(user)
        return user

    async def rename_organization(self, name: str) -> Organization:
        _check_text("the organization's name", name, needed=True)
        await self._people.rename_organization(name)
        return self.describe_organization()

    async def transfer(self, giver: str, taker: str) -> Organization:
        """Raises BadRequest for who can't be owner."""
        user = self._people.find(taker)
        if user is None or not user.active or user.name == giver:
            raise BadRequest(f"user {taker!r} can't become owner: name another user who is active (eleagent user ls)")
        await self._people.transfer(giver, taker)
        return self.describe_organization()

    async def delete_organization(self, name: str) -> Organization:
        if name != self._people.organization.name:
            raise BadRequest(f"{name!r} is not the organization's name: write {self._people.organization.name!r}")
        await self._people.dissolve()
        await self._logins.end_all(None, why="the organization was deleted")
        await self._keys.revoke_all(None)
        return self.describe_organization()

    def _person(self, name: str) -> User:
        user = self._people.get(name)
        if user.source is Source.SYSTEM:
            raise Refused(
                f"{name} is this machine's own account and owner by that: there is nothing to change about it"
            )
        return user

    async def _with_password(self, user: User, password: str) -> User:
        near = [user.name, *user.full_name.split(), self._people.organization.name, "eleagent"]
        await self._passwords.check(password, context=near)
        return msgspec.structs.replace(user, password=await self._passwords.hash(password), password_changed=now())


def _with_account(user: User, unix_user: str) -> User:
    """Raises BadRequest for an account that is not there or is nobody's to be."""
    if not unix_user:
        return msgspec.structs.replace(user, unix_user="", unix_uid=None)
    try:
        uid = pwd.getpwnam(unix_user).pw_uid
    except (KeyError, ValueError):
        raise BadRequest(f"there is no account {unix_user!r} on this machine") from None
    if uid == 65534 or POOL_FIRST_UID <= uid < POOL_FIRST_UID + POOL_SIZE:
        raise BadRequest(f"account {unix_user!r} has uid {uid}, which is a sandbox's or nobody's: take another")
    return msgspec.structs.replace(user, unix_user=unix_user, unix_uid=uid)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or re.fullmatch(r"uid-\d+", name):
        raise BadRequest(
            f"user name {name!r}: use letters, digits, '.', '_', '@' and '-', at most 63, and not the form uid-N"
        )


def _check_text(what: str, text: str, *, needed: bool = False) -> None:
    if len(text) > _TEXT_CHARACTERS or not text.isprintable() or (needed and not text.strip()):
        raise BadRequest(f"{what} {text[:_TEXT_CHARACTERS]!r}: use 1 to {_TEXT_CHARACTERS} printable characters")
