"""Who may come in, and how is a caller told from another?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from eleagent_daemon.account import GroupRule, group_rule
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.identity import assembly
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Lives
from eleagent_daemon.identity.passwords import Cost
from eleagent_daemon.layout import Layout
from eleagent_daemon.settings import Config


@dataclass(frozen=True, kw_only=True)
class Entrance:
    keyring: Keyring
    identity: assembly.Identity
    door: Door
    group: GroupRule | None


async def open_people(
    stack: AsyncExitStack, *, config: Config, layout: Layout, installation: str, provided: Keyring | None
) -> Entrance:
    """Keys are made at the first start, unless they are `provided`."""
    keyring = provided if provided is not None else await asyncio.to_thread(Keyring.open, layout.keyring)
    terms = assembly.Terms(
        access_s=config.login.access_s,
        lives=Lives(idle_s=config.login.idle_s, whole_s=config.login.whole_s),
        cost=Cost(**msgspec.structs.asdict(config.password)),
    )
    identity = await assembly.open_identity(
        stack, database=layout.auth, keyring=keyring, issuer=installation, terms=terms
    )
    group = group_rule(config.unix.group, config.unix.role)
    peers = Peers(people=identity.people, projects=identity.project_rows, group=group)
    await peers.admit_system()
    door = Door(
        people=identity.people,
        peers=peers,
        logins=identity.logins,
        tokens=identity.tokens,
        keys=identity.keys,
        projects=identity.project_rows,
        addresses=identity.addresses,
        behind_proxy=config.behind_proxy,
    )
    return Entrance(keyring=keyring, identity=identity, door=door, group=group)
