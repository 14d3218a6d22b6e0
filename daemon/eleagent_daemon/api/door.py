"""Which of the ways in did a request take: the Unix socket's peer, or a token that it carries?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from eleagent.errors import NotInitialized, Unauthenticated
from eleagent.permissions import Role
from eleagent.wire.logins import Via
from eleagent_daemon.account import groups_of
from eleagent_daemon.api.identity import NOBODY, Caller, Peers, address_of, peer_identity, peer_name, peer_of
from eleagent_daemon.identity.keys import ApiKeys
from eleagent_daemon.identity.logins import Logins
from eleagent_daemon.identity.throttle import Addresses
from eleagent_daemon.identity.tokens import AccessTokens
from eleagent_daemon.store.apikeys import KeyRow
from eleagent_daemon.store.people import People, User
from eleagent_daemon.store.projects import ProjectRows
from eleagent_daemon.store.registry import CallerIdentity

_KEY: Final = "eak_"
_SESSION: Final = "est_"


class Door:
    """The daemon's doorkeeper. A token goes before the socket's peer: who brings one wants to be known by it.

    `behind_proxy`: over TCP the last address in X-Forwarded-For is the caller's.
    """

    def __init__(
        self,
        *,
        people: People,
        peers: Peers,
        logins: Logins,
        tokens: AccessTokens,
        keys: ApiKeys,
        projects: ProjectRows,
        addresses: Addresses,
        behind_proxy: bool = False,
    ) -> None:
        self._people = people
        self._peers = peers
        self._logins = logins
        self._tokens = tokens
        self._keys = keys
        self._projects = projects
        self._addresses = addresses
        self._behind_proxy = behind_proxy

    async def identify(self, request: web.Request) -> Caller:
        """Raises NotInitialized, Refused, Unauthenticated, Throttled."""
        self._refuse_uninitialized(request)
        token = bearer(request)
        if token is None:
            return await self._peers.identify(request)
        peer = peer_of(request)
        identity = peer_identity(peer) if peer is not None else NOBODY
        address = self._address(request)
        self._addresses.check(address or peer_name(request))
        try:
            if token.startswith(_KEY):
                return self._of_key(await self._keys.read(token, address), identity, address)
            return self._by_login(token, identity, address)
        except Unauthenticated as err:
            if err.fields.get("reason") == "invalid":
                self._addresses.take(address or peer_name(request))
            raise

    async def visitor(self, request: web.Request) -> Caller:
        """One who is about to say who it is. Raises NotInitialized, Refused, Throttled."""
        self._refuse_uninitialized(request)
        peer = peer_of(request)
        identity = peer_identity(peer) if peer is not None else NOBODY
        name = peer_name(request)
        self._addresses.take(self._address(request) or name)
        return Caller(name=name, role=Role.AGENT, scopes=frozenset(), identity=identity, address=self._address(request))

    def again(self, caller: Caller) -> Caller:
        """Raises Refused or Unauthenticated."""
        if caller.via is Via.LOGIN:
            return self._of_login(caller.credential, caller.identity, caller.address)
        if caller.via is Via.KEY:
            found = self._keys.get(caller.credential, caller.address)
            return self._of_key(found, caller.identity, caller.address)
        return self._peers.again(caller)

    def _by_login(self, token: str, identity: CallerIdentity, address: str) -> Caller:
        if token.startswith(_SESSION):
            why = "a session's token opens that session's own door alone, from inside its sandbox"
            raise Unauthenticated(why, reason="invalid")
        claims = self._tokens.read(token)
        caller = self._of_login(claims.sid, identity, address)
        if caller.user_id != claims.sub:
            raise Unauthenticated("the access token is not valid: log in with eleagent login", reason="invalid")
        return caller

    def _of_login(self, identifier: str, identity: CallerIdentity, address: str) -> Caller:
        row = self._logins.find(identifier)
        user = self._people.find_by_id(row.user) if row is not None else None
        if row is None or user is None or not user.active:
            raise Unauthenticated("this login was ended: log in with eleagent login", reason="ended")
        self._logins.use(row)
        return Caller(
            name=user.name,
            role=user.role,
            identity=identity,
            user_id=user.id,
            projects=self._projects_of(user),
            via=Via.LOGIN,
            credential=row.id,
            confirmed=row.confirmed,
            address=address,
        )

    def _of_key(self, found: tuple[KeyRow, User], identity: CallerIdentity, address: str) -> Caller:
        row, user = found
        return Caller(
            name=user.name,
            role=user.role,
            identity=identity,
            user_id=user.id,
            projects=self._projects_of(user),
            via=Via.KEY,
            scopes=row.bounds.scopes,
            within=row.bounds.projects or None,
            bounds=row.bounds,
            credential=row.id,
            address=address,
        )

    def _projects_of(self, user: User) -> frozenset[str]:
        """By the machine's groups too, where the user has an account there."""
        return self._projects.of(user.name, groups_of(user.unix_user) or frozenset())

    def _refuse_uninitialized(self, request: web.Request) -> None:
        if peer_of(request) is None and self._people.organization.initialized is None:
            raise NotInitialized("nobody has a user here yet: run eleagent init on the server, as root")

    def _address(self, request: web.Request) -> str:
        if self._behind_proxy and peer_of(request) is None:
            forwarded = ",".join(request.headers.getall("X-Forwarded-For", [])).rpartition(",")[2].strip()
            return forwarded[:64] or address_of(request)
        return address_of(request)


def bearer(request: web.Request) -> str | None:
    """The token that a request carries. Raises Unauthenticated for two, and for another scheme than Bearer."""
    given = request.headers.getall("Authorization", [])
    if not given:
        return None
    scheme, _, token = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token or token != token.strip():
        raise Unauthenticated("the Authorization header must be one, of the form: Bearer TOKEN", reason="invalid")
    return token
