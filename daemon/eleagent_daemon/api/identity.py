"""Who is calling? On the Unix socket the kernel says; the place where other kinds of login plug in."""

from __future__ import annotations

import array
import os
import pwd
import socket
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from eleagent.errors import Refused
from eleagent.permissions import Role
from eleagent_daemon.api.peers import check_neighbour, credentials
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.store.registry import CallerIdentity

_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h
_GROUPS_BYTES: Final = 1024  # the most that Python's getsockopt takes
_OVERFLOW_UID: Final = 65534


@dataclass(frozen=True)
class Caller:
    """`name` is who did it, in every record; `identity` whose rights open host paths."""

    name: str
    role: Role
    identity: CallerIdentity


def identify(request: web.Request) -> Caller:
    """The peer of the Unix socket: root and the daemon's own account are the owner, from where the daemon itself is.
    Raises Refused for others."""
    peer = _peer(request)
    if peer is None:
        raise Refused("only callers on the Unix socket are known")
    _, uid, gid = credentials(peer)
    pool = range(POOL_FIRST_UID, POOL_FIRST_UID + POOL_SIZE)
    if uid != os.getuid() and (uid == _OVERFLOW_UID or uid in pool):
        raise Refused(f"uid {uid} is a sandbox's or from another user namespace: it has no business here")
    if uid not in (0, os.getuid()):
        raise Refused(
            f"uid {uid} is nobody here yet: only root and the daemon's own account are, until users are known"
        )
    check_neighbour(peer)
    try:
        groups = array.array("I", peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES))
    except OSError:
        raise Refused(f"uid {uid} is in more than {_GROUPS_BYTES // 4} groups, which can't be taken on") from None
    return Caller(name=account(uid), role=Role.OWNER, identity=CallerIdentity(uid=uid, gid=gid, groups=list(groups)))


def peer_name(request: web.Request) -> str:
    """Who a caller is that may be nobody here: the kernel's word alone."""
    peer = _peer(request)
    return f"uid-{credentials(peer)[1]}" if peer is not None else "unknown"


def _peer(request: web.Request) -> socket.socket | None:
    transport = request.transport
    peer = transport.get_extra_info("socket") if transport is not None else None
    return peer if peer is not None and peer.family == socket.AF_UNIX else None


def account(uid: int) -> str:
    """The account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
