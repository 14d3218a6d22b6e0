"""Who is calling? On the Unix socket the kernel says; a bearer token says it anywhere."""

from __future__ import annotations

import array
import os
import socket
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from eleagent.errors import Conflict, Refused, Unauthenticated
from eleagent.permissions import Permission, Reach, Role
from eleagent.roles import DRIVER, Grants, grants
from eleagent.wire.logins import Via
from eleagent.wire.sessions import Session
from eleagent_daemon.account import GroupRule, account_name, groups_of
from eleagent_daemon.api.peers import check_neighbour, credentials
from eleagent_daemon.domain.access import Sight
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.store.apikeys import Bounds
from eleagent_daemon.store.people import People, Source, User
from eleagent_daemon.store.projects import ProjectRows
from eleagent_daemon.store.registry import CallerIdentity

_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h
_GROUPS_BYTES: Final = 1024  # the most that Python's getsockopt takes
_OVERFLOW_UID: Final = 65534

NOBODY: Final = CallerIdentity(uid=_OVERFLOW_UID, gid=_OVERFLOW_UID, groups=[])
"""Whose rights open host paths for one who is not on this host: nobody's."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """`name` is who did it, in every record; `identity` whose rights open host paths. `scopes` are a key's, None for a
    person; `projects` those the caller is a member of, `within` the only ones that a bound key knows, `bounds` all that
    binds a key. `credential` is the public id of the login or key, `confirmed` when a login's password was given last
    (Unix time), `address` where a request over TCP came from.
    """

    name: str
    role: Role
    identity: CallerIdentity
    user_id: str = ""
    via: Via = Via.SOCKET
    scopes: frozenset[str] | None = None
    projects: frozenset[str] = frozenset()
    within: frozenset[str] | None = None
    bounds: Bounds | None = None
    credential: str = ""
    confirmed: float | None = None
    address: str = ""

    @property
    def grants(self) -> Grants:
        """What this caller may do: the role's permissions, cut down to a key's scopes."""
        return grants(self.role, self.scopes)

    @property
    def key(self) -> str:
        """The API key that it comes by; empty for a person."""
        return self.credential if self.via is Via.KEY else ""

    @property
    def key_day_usd(self) -> float:
        """What that key may spend on a day; 0 is no limit of its own."""
        return (self.bounds.day_usd if self.bounds else None) or 0.0

    def reach(self, permission: Permission) -> Reach:
        return self.grants.get(permission, Reach.NONE)

    def sight(self, permission: Permission) -> Sight:
        """What of a kind this caller has `permission` over."""
        return Sight(
            reach=self.reach(permission),
            user=self.name,
            projects=self.projects,
            within=self.within,
            drives=permission in DRIVER,
        )

    def check_bounds(self, session: Session) -> None:
        """Raises Refused for a key that would make a session work which its bounds leave out: of another agent, or one
        whose money is not counted to it.
        """
        if self.bounds is None:
            return
        if self.bounds.agents and session.agent not in self.bounds.agents:
            agents = ", ".join(sorted(self.bounds.agents))
            raise Refused(f"this API key is for {agents}: session {session.key} is one of {session.agent}")
        if self.key_day_usd and session.credential != self.key:
            raise Refused(
                f"this API key may spend {self.key_day_usd:g} USD a day, and what session {session.key} spends is not"
                " counted to it: it drives what it has started itself, or goes on with the ended one (resume)"
            )


class Doorkeeper(Protocol):
    """Who tells the pipeline who is calling."""

    async def identify(self, request: web.Request) -> Caller:
        """Raises Refused, Unauthenticated, Throttled or NotInitialized."""

    async def visitor(self, request: web.Request) -> Caller:
        """One who asks for what needs no identity. Raises Refused, Throttled or NotInitialized."""

    def again(self, caller: Caller) -> Caller:
        """The caller as it is now. Raises Refused or Unauthenticated once it is nobody any more."""


class Peers:
    """Who the peers of the Unix socket are: the machine's own accounts are owners, others are users by their uid."""

    def __init__(self, *, people: People, projects: ProjectRows | None = None, group: GroupRule | None = None) -> None:
        self._people = people
        self._projects = projects
        self._group = group

    async def admit_system(self) -> None:
        """Make root and the daemon's own account users: what they do has an owner, and nobody else gets their names."""
        for uid in {0, os.getuid()}:
            if self._people.find_by_uid(uid) is None:
                name = account_name(uid)
                free = name if self._people.find(name) is None else f"uid-{uid}"
                await self._people.create_user(
                    User(name=free, role=Role.OWNER, source=Source.SYSTEM, unix_uid=uid, unix_user=name)
                )

    async def identify(self, request: web.Request) -> Caller:
        """Raises Refused, saying what to do, for a peer that is nobody here."""
        peer = peer_of(request)
        if peer is None:
            raise Unauthenticated("over TCP the daemon knows callers by a login or an API key: eleagent login")
        identity = peer_identity(peer)
        user = self._people.find_by_uid(identity.uid)
        if user is None:
            user = await self._first_contact(identity)
        return self._caller(user, identity)

    def again(self, caller: Caller) -> Caller:
        user = self._people.find_by_id(caller.user_id)
        if user is None:
            raise Refused(f"{caller.name} is nobody here any more")
        return self._caller(user, caller.identity)

    def _caller(self, user: User, identity: CallerIdentity) -> Caller:
        system = identity.uid in (0, os.getuid())
        if not system:
            self._refuse_outsider(user, identity)
        groups = frozenset((identity.gid, *identity.groups))
        return Caller(
            name=user.name,
            role=Role.OWNER if system else user.role,
            identity=identity,
            user_id=user.id,
            projects=self._projects.of(user.name, groups) if self._projects is not None else frozenset(),
        )

    def _refuse_outsider(self, user: User, identity: CallerIdentity) -> None:
        if not user.active:
            advice = f"an owner can change that with eleagent user edit {user.name} --enable"
            raise Refused(f"user {user.name} is {user.state}: {advice}")
        if user.source is Source.GROUP and not self._in_group(identity):
            where = f"group {self._group.name}" if self._group else "the group that let it in"
            raise Refused(f"user {user.name} is not in {where} any more")

    def _in_group(self, identity: CallerIdentity) -> bool:
        """By the kernel's word, which holds for as long as a process lives, and by the group's own list."""
        if self._group is None or self._group.gid not in (identity.gid, *identity.groups):
            return False
        listed = groups_of(account_name(identity.uid))
        return listed is None or self._group.gid in listed

    async def _first_contact(self, identity: CallerIdentity) -> User:
        name = account_name(identity.uid)
        if self._group is not None and self._in_group(identity):
            try:
                return await self._people.create_user(
                    User(name=name, role=self._group.role, source=Source.GROUP, unix_uid=identity.uid, unix_user=name)
                )
            except Conflict as err:
                raise Refused(f"uid {identity.uid} can't become a user: {err.message}") from None
        group = f", or usermod -aG {self._group.name} {name} and log in anew" if self._group else ""
        raise Refused(
            f"uid {identity.uid} ({name}) is nobody here yet: an owner can add it with"
            f" eleagent user add {name} --unix-user {name}{group}"
        )


def peer_identity(peer: socket.socket) -> CallerIdentity:
    """What the kernel says of a peer. Raises Refused for one that is not of this host's users."""
    _, uid, gid = credentials(peer)
    refuse_foreign_peer(uid)
    check_neighbour(peer)
    try:
        groups = array.array("I", peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES))
    except OSError:
        raise Refused(f"uid {uid} is in more than {_GROUPS_BYTES // 4} groups, which can't be taken on") from None
    return CallerIdentity(uid=uid, gid=gid, groups=list(groups))


def refuse_foreign_peer(uid: int) -> None:
    """Raises Refused for a sandbox's user and for a user of another user namespace."""
    if uid == os.getuid():
        return
    if uid == _OVERFLOW_UID or POOL_FIRST_UID <= uid < POOL_FIRST_UID + POOL_SIZE:
        raise Refused(f"uid {uid} is a sandbox's or from another user namespace: it has no business here")


def peer_name(request: web.Request) -> str:
    """Who a caller is that may be nobody here: the kernel's word, or the address it came from."""
    peer = peer_of(request)
    return f"uid-{credentials(peer)[1]}" if peer is not None else f"tcp {address_of(request)}"


def address_of(request: web.Request) -> str:
    """The IP address at the other end of a TCP connection, empty on the Unix socket."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""


def peer_of(request: web.Request) -> socket.socket | None:
    """The socket of a caller on the Unix socket, None over TCP."""
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    return peer if peer is not None and peer.family == socket.AF_UNIX else None
