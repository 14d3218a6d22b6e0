"""What does each operation on users and their logins do?"""

from __future__ import annotations

from eleagent.errors import NotFound
from eleagent.operations.users import (
    LOGIN_LIST,
    LOGIN_REVOKE,
    USER_ADMINISTER,
    USER_CREATE,
    USER_DELETE,
    USER_GET,
    USER_LIST,
    USER_PASSWORD,
    USER_UPDATE,
)
from eleagent.wire.logins import LoginEnded, LoginList, Via
from eleagent.wire.users import User, UserList
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.identity.logins import Logins
from eleagent_daemon.identity.membership import Membership
from eleagent_daemon.store.people import People
from eleagent_daemon.store.people import User as Stored


class UserHandlers:
    def __init__(self, *, membership: Membership, people: People, logins: Logins) -> None:
        self._membership = membership
        self._people = people
        self._logins = logins

    def table(self) -> Handlers:
        return {
            USER_LIST: self.list_users,
            USER_GET: self.get,
            USER_CREATE: self.create,
            USER_UPDATE: self.update,
            USER_ADMINISTER: self.administer,
            USER_PASSWORD: self.set_password,
            USER_DELETE: self.delete,
            LOGIN_LIST: self.list_logins,
            LOGIN_REVOKE: self.revoke_login,
        }

    async def find_login(self, identifier: str, sight: Sight) -> Owned:
        """Raises NotFound."""
        row = self._logins.find(identifier)
        thing = Owned(id=identifier, owner=self._logins.describe(row).user) if row is not None else None
        if thing is None or not sight.reaches(thing):
            raise NotFound(f"no login {identifier!r}: eleagent login ls lists them")
        return thing

    async def list_users(self, call: Call) -> UserList:
        sight = call.caller.sight(call.operation.permission)
        return UserList(users=[describe(user) for user in self._membership.list_users(sight)])

    async def get(self, call: Call) -> User:
        return describe(self._people.get(call.path["user"]))

    async def create(self, call: Call) -> User:
        return describe(await self._membership.create(call.body))

    async def update(self, call: Call) -> User:
        return describe(await self._membership.rename(call.path["user"], call.body.full_name))

    async def administer(self, call: Call) -> User:
        return describe(await self._membership.administer(call.path["user"], call.body))

    async def set_password(self, call: Call) -> User:
        kept = call.caller.credential if call.caller.via is Via.LOGIN else ""
        return describe(await self._membership.set_password(call.path["user"], call.body.password, but=kept))

    async def delete(self, call: Call) -> User:
        return describe(await self._membership.remove(call.path["user"]))

    async def list_logins(self, call: Call) -> LoginList:
        sight = call.caller.sight(call.operation.permission)
        current = call.caller.credential if call.caller.via is Via.LOGIN else ""
        found = [self._logins.describe(row, current=current) for row in self._logins.list_logins()]
        return LoginList(logins=[one for one in found if sight.reaches(Owned(id=one.id, owner=one.user))])

    async def revoke_login(self, call: Call) -> LoginEnded:
        await self._logins.end(call.path["login"], why=f"revoked by {call.caller.name}")
        return LoginEnded(id=call.path["login"])


def describe(user: Stored) -> User:
    return User(
        id=user.id,
        name=user.name,
        role=user.role,
        state=user.state,
        source=user.source,
        created=user.created,
        full_name=user.full_name,
        unix_user=user.unix_user,
        password=bool(user.password),
    )
