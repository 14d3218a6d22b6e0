"""What does each operation on logins do?"""

from __future__ import annotations

from eleagent.errors import Conflict, Unauthenticated
from eleagent.operations.logins import LOGIN_CONFIRM, LOGIN_CREATE, LOGIN_REFRESH, LOGOUT, WHOAMI
from eleagent.wire.logins import Login, LoginEnded, Tokens, Via, Whoami
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.identity.logins import Logins, rfc3339
from eleagent_daemon.identity.throttle import Addresses
from eleagent_daemon.store.people import People


class LoginHandlers:
    def __init__(self, *, logins: Logins, people: People, addresses: Addresses) -> None:
        self._logins = logins
        self._people = people
        self._addresses = addresses

    def table(self) -> Handlers:
        return {
            LOGIN_CREATE: self.login,
            LOGIN_REFRESH: self.refresh,
            LOGIN_CONFIRM: self.confirm,
            LOGOUT: self.logout,
            WHOAMI: self.whoami,
        }

    async def login(self, call: Call) -> Tokens:
        # What is no user's name may be a password in the wrong place: it is not recorded.
        call.noted["user"] = call.body.user if self._people.find(call.body.user) else "nobody's name"
        address = call.caller.address or call.caller.name
        pair, _ = await self._logins.login(call.body.user, call.body.password, address=address, note=call.body.note)
        self._welcome(call, pair)
        return pair

    async def refresh(self, call: Call) -> Tokens:
        try:
            pair, _ = await self._logins.refresh(call.body.refresh)
        except Unauthenticated as err:
            call.noted["why"] = str(err.fields.get("reason"))
            raise
        self._welcome(call, pair)
        return pair

    async def confirm(self, call: Call) -> Login:
        user = self._people.find_by_id(call.caller.user_id)
        if call.caller.via is not Via.LOGIN or user is None:
            raise Conflict("only a login by password has a password to confirm")
        return await self._logins.confirm(call.caller.credential, user, call.body.password)

    async def logout(self, call: Call) -> LoginEnded:
        if call.caller.via is not Via.LOGIN:
            raise Conflict("this request came with no login that could end: eleagent whoami tells what it came with")
        await self._logins.end(call.caller.credential, why="logout")
        return LoginEnded(id=call.caller.credential)

    async def whoami(self, call: Call) -> Whoami:
        caller = call.caller
        user = self._people.find_by_id(caller.user_id)
        row = self._logins.find(caller.credential) if caller.via is Via.LOGIN else None
        return Whoami(
            user=caller.name,
            user_id=caller.user_id,
            name=user.full_name if user else "",
            role=caller.role,
            organization=self._people.organization.name,
            via=caller.via,
            credential=caller.credential,
            expires=rfc3339(row.expires) if row else None,
            projects=sorted(caller.projects),
            permissions={str(permission): str(reach) for permission, reach in sorted(caller.grants.items())},
        )

    def _welcome(self, call: Call, pair: Tokens) -> None:
        """A try that was right is no try."""
        call.noted.update({"user": pair.user, "login": pair.login})
        self._addresses.give(call.caller.address or call.caller.name)
