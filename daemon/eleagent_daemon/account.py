"""Which accounts of this machine matter: as whom does eleagentd run, and which group may use it?"""

from __future__ import annotations

import grp
import os
import pwd
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eleagent.errors import ConfigError
from eleagent.permissions import Role
from eleagent_daemon.domain.sandbox import DAEMON_UID

FIRST_PERSON: Final = 1000
"""Accounts below are the machine's (login.defs, UID_MIN)."""

_GROUPS_S: Final = 5.0


def daemon_account(user: str) -> tuple[int, int]:
    """uid and gid of eleagentd: ourselves, or as root the account `user`, or where there is none uid 10000.

    Raises ConfigError for root's own account.
    """
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user != "eleagent":
            raise ConfigError(f"user: there is no account {user!r}: useradd --system --no-create-home {user}") from None
        return DAEMON_UID, DAEMON_UID
    if entry.pw_uid == 0:
        raise ConfigError("user: eleagentd does not run as root; name another account")
    return entry.pw_uid, entry.pw_gid


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    """Who is in the Unix group `gid` is a member of the organization, with `role`, at first contact."""

    name: str
    gid: int
    role: Role


def group_rule(name: str, role: str) -> GroupRule | None:
    """The rule for a group of this machine, None for no name. Raises ConfigError where there is no such group."""
    if not name:
        return None
    try:
        return GroupRule(name=name, gid=grp.getgrnam(name).gr_gid, role=Role(role))
    except KeyError:
        raise ConfigError(f"unix.group: there is no group {name!r} on this machine: groupadd {name}") from None


@lru_cache(maxsize=1024)
def _groups(account: str, _moment: int) -> frozenset[int] | None:
    try:
        return frozenset(os.getgrouplist(account, pwd.getpwnam(account).pw_gid))
    except KeyError:
        return None


def groups_of(account: str) -> frozenset[int] | None:
    """The numbers of the groups that list the account, None where there is no such account; known for some seconds."""
    return _groups(account, int(time.monotonic() / _GROUPS_S))


def account_name(uid: int) -> str:
    """The account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
