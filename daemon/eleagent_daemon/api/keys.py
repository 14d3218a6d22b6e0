"""What does each operation on API keys do?"""

from __future__ import annotations

from eleagent.operations.keys import KEY_CREATE, KEY_LIST, KEY_REVOKE
from eleagent.wire.keys import ApiKey, ApiKeyList, ApiKeyMade
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.identity.keys import ApiKeys
from eleagent_daemon.store.people import People


class KeyHandlers:
    def __init__(self, *, keys: ApiKeys, people: People) -> None:
        self._keys = keys
        self._people = people

    def table(self) -> Handlers:
        return {KEY_LIST: self.list_keys, KEY_CREATE: self.create, KEY_REVOKE: self.revoke}

    async def list_keys(self, call: Call) -> ApiKeyList:
        return ApiKeyList(keys=self._keys.list_keys(call.caller.sight(call.operation.permission)))

    async def create(self, call: Call) -> ApiKeyMade:
        maker = self._people.get(call.caller.name)
        key, secret = await self._keys.make(call.body, maker, call.caller.grants)
        call.noted["key"] = key.id
        return ApiKeyMade(key=key, secret=secret)

    async def revoke(self, call: Call) -> ApiKey:
        return await self._keys.revoke(call.path["api_key"])
