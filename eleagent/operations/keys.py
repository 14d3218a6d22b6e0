"""Which operations are there on API keys?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import keys

KEY_LIST: Final = Operation(
    id="api_key_list", method="GET", path="/v1/keys", permission=Permission.KEY_READ, audit="key.list",
    effect=Effect.READ, summary="The API keys that the caller may see", result=keys.ApiKeyList,
)  # fmt: skip
KEY_CREATE: Final = Operation(
    id="api_key_make", method="POST", path="/v1/keys", permission=Permission.KEY_CREATE, audit="key.create",
    effect=Effect.ACT, summary="Make an API key of one's own; its secret is shown this once", body=keys.ApiKeyCreate,
    body_kind=Body.JSON, result=keys.ApiKeyMade, status=201, step_up=True,
    recorded=("note", "group", "scopes", "days", "projects", "agents", "networks", "sessions"), noted=("key",),
)  # fmt: skip
KEY_REVOKE: Final = Operation(
    id="api_key_revoke", method="DELETE", path="/v1/keys/{api_key}", permission=Permission.KEY_REVOKE,
    audit="key.revoke", effect=Effect.TAKE_AWAY, summary="End an API key at once", result=keys.ApiKey,
)  # fmt: skip
