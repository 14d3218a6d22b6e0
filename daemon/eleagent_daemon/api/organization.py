"""What does each operation on the organization and the daemon's own keys do?"""

from __future__ import annotations

import asyncio

from eleagent.errors import Conflict
from eleagent.operations.organization import (
    KEYS_ROTATE,
    ORGANIZATION_DELETE,
    ORGANIZATION_GET,
    ORGANIZATION_INIT,
    ORGANIZATION_TRANSFER,
    ORGANIZATION_UPDATE,
)
from eleagent.wire.system import KeysRotated
from eleagent.wire.users import Organization, User
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.api.users import describe
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Logins
from eleagent_daemon.identity.membership import Membership
from eleagent_daemon.store.people import People
from eleagent_daemon.store.registry import Registry


class OrganizationHandlers:
    def __init__(
        self, *, membership: Membership, people: People, logins: Logins, keyring: Keyring, registry: Registry
    ) -> None:
        self._membership = membership
        self._people = people
        self._logins = logins
        self._keyring = keyring
        self._registry = registry

    def table(self) -> Handlers:
        return {
            ORGANIZATION_GET: self.get,
            ORGANIZATION_INIT: self.initialize,
            ORGANIZATION_UPDATE: self.update,
            ORGANIZATION_TRANSFER: self.transfer,
            ORGANIZATION_DELETE: self.delete,
            KEYS_ROTATE: self.rotate,
        }

    async def get(self, call: Call) -> Organization:
        return self._membership.describe_organization()

    async def initialize(self, call: Call) -> User:
        return describe(await self._membership.initialize(call.body, self._people.get(call.caller.name)))

    async def update(self, call: Call) -> Organization:
        return await self._membership.rename_organization(call.body.name)

    async def transfer(self, call: Call) -> Organization:
        return await self._membership.transfer(call.caller.name, call.body.user)

    async def delete(self, call: Call) -> Organization:
        """Raises Conflict while sessions are alive."""
        if live := await self._registry.live():
            keys = ", ".join(record.session.key for record in live[:5])
            raise Conflict(f"{len(live)} sessions are alive ({keys}): stop them first")
        return await self._membership.delete_organization(call.body.name)

    async def rotate(self, call: Call) -> KeysRotated:
        key = await asyncio.to_thread(lambda: self._keyring.rotate(at_once=call.body.at_once))
        ended = await self._logins.end_all(None, why="the signing keys were replaced") if call.body.at_once else 0
        return KeysRotated(key=key.id, logins_ended=ended)
