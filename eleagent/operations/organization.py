"""Which operations are there on the organization and the daemon's own keys?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import system, users

ORGANIZATION_GET: Final = Operation(
    id="organization_get", method="GET", path="/v1/organization", permission=Permission.ORGANIZATION_READ,
    audit="organization.show", effect=Effect.READ, summary="The organization and its owners", result=users.Organization,
)  # fmt: skip
ORGANIZATION_INIT: Final = Operation(
    id="organization_init", method="POST", path="/v1/organization", permission=Permission.ORGANIZATION_CREATE,
    audit="organization.init", effect=Effect.ACT, summary="Name the organization and its first owner, once",
    body=users.OrganizationInit, body_kind=Body.JSON, result=users.User, status=201,
    recorded=("name", "user", "unix_user"),
)  # fmt: skip
ORGANIZATION_UPDATE: Final = Operation(
    id="organization_update", method="PATCH", path="/v1/organization", permission=Permission.ORGANIZATION_UPDATE,
    audit="organization.update", effect=Effect.ACT, summary="Rename the organization", body=users.OrganizationUpdate,
    body_kind=Body.JSON, result=users.Organization, recorded=("name",),
)  # fmt: skip
ORGANIZATION_TRANSFER: Final = Operation(
    id="organization_transfer", method="POST", path="/v1/organization/transfer",
    permission=Permission.ORGANIZATION_DELETE, audit="organization.transfer", effect=Effect.ACT,
    summary="Make another user owner instead of oneself", body=users.OrganizationTransfer, body_kind=Body.JSON,
    result=users.Organization, step_up=True, recorded=("user",),
)  # fmt: skip
ORGANIZATION_DELETE: Final = Operation(
    id="organization_delete", method="POST", path="/v1/organization/delete", permission=Permission.ORGANIZATION_DELETE,
    audit="organization.delete", effect=Effect.ACT,
    summary="Remove every member, login and key; what sessions left stays on the disk", body=users.OrganizationDelete,
    body_kind=Body.JSON, result=users.Organization, step_up=True, recorded=("name",),
)  # fmt: skip
KEYS_ROTATE: Final = Operation(
    id="keys_rotate", method="POST", path="/v1/daemon/keys", permission=Permission.DAEMON_KEYS,
    audit="daemon.rotate_keys", effect=Effect.ACT,
    summary="Sign access tokens with a fresh key; at once also ends every login",
    body=system.KeysRotate, body_kind=Body.JSON, result=system.KeysRotated, step_up=True, recorded=("at_once",),
)  # fmt: skip
