"""What is identity made of? Its parts are opened here, once and in order; each gets only what it uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.keys import ApiKeys
from eleagent_daemon.identity.logins import Lives, Logins
from eleagent_daemon.identity.membership import Membership
from eleagent_daemon.identity.passwords import Cost, Passwords
from eleagent_daemon.identity.projects import Projects
from eleagent_daemon.identity.throttle import Accounts, Addresses
from eleagent_daemon.identity.tokens import AccessTokens
from eleagent_daemon.store.apikeys import KeyRows
from eleagent_daemon.store.attempts import Attempts
from eleagent_daemon.store.database import Database
from eleagent_daemon.store.logins import LoginRows
from eleagent_daemon.store.people import People
from eleagent_daemon.store.projects import ProjectRows


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the operator set for everybody."""

    access_s: float
    lives: Lives
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Identity:
    database: Database
    people: People
    keyring: Keyring
    passwords: Passwords
    tokens: AccessTokens
    logins: Logins
    keys: ApiKeys
    projects: Projects
    project_rows: ProjectRows
    membership: Membership
    addresses: Addresses
    attempts: Attempts


async def open_identity(
    stack: AsyncExitStack,
    *,
    database: Path,
    keyring: Keyring,
    issuer: str,
    terms: Terms,
    clock: Callable[[], float] = time.time,
) -> Identity:
    """Opened for as long as `stack` is. `issuer` is the installation, whose access tokens count here alone."""
    auth = await Database.open(database, schema="auth")
    stack.push_async_callback(auth.close)
    people = await People.open(auth)
    attempts = await Attempts.open(auth)
    passwords = Passwords(cost=terms.cost)
    stack.callback(passwords.close)
    tokens = AccessTokens(keyring=keyring, issuer=f"eleagentd:{issuer}", life_s=terms.access_s, clock=clock)
    logins = Logins(
        rows=await LoginRows.open(auth),
        people=people,
        passwords=passwords,
        tokens=tokens,
        keyring=keyring,
        accounts=Accounts(attempts=attempts, clock=clock),
        lives=terms.lives,
        clock=clock,
    )
    keys = ApiKeys(rows=await KeyRows.open(auth), people=people, keyring=keyring, clock=clock)
    project_rows = await ProjectRows.open(auth)
    return Identity(
        database=auth,
        people=people,
        keyring=keyring,
        passwords=passwords,
        tokens=tokens,
        logins=logins,
        keys=keys,
        projects=Projects(rows=project_rows, people=people),
        project_rows=project_rows,
        membership=Membership(people=people, passwords=passwords, logins=logins, keys=keys),
        addresses=Addresses(clock=clock),
        attempts=attempts,
    )
