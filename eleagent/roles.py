"""Who may do what: the one table of permissions, and how far each role's and each kind of key's reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

from eleagent.permissions import Permission, Reach, Role

DESCRIPTIONS: dict[Permission, str] = {
    Permission.SELF_READ: "see who one is and what one may do, end one's own login",
    Permission.LOGIN_CREATE: "log in (everyone, with a password or a refresh token)",
    Permission.LOGIN_READ: "see logins",
    Permission.LOGIN_REVOKE: "end logins",
    Permission.KEY_READ: "see API keys (never a secret)",
    Permission.KEY_CREATE: "make API keys, for no more than one may oneself",
    Permission.KEY_REVOKE: "end API keys",
    Permission.PROJECT_READ: "see projects and start sessions in them",
    Permission.PROJECT_CREATE: "make projects",
    Permission.PROJECT_UPDATE: "change and archive projects, let others in and out",
    Permission.ORGANIZATION_READ: "see the organization",
    Permission.ORGANIZATION_CREATE: "give the organization its first owner",
    Permission.ORGANIZATION_UPDATE: "rename the organization",
    Permission.ORGANIZATION_DELETE: "hand over or delete the organization",
    Permission.USER_READ: "see users",
    Permission.USER_CREATE: "add users",
    Permission.USER_UPDATE: "change what a user says about itself",
    Permission.USER_PASSWORD: "set a password",
    Permission.USER_ADMINISTER: "change a user's role, state and Unix account",
    Permission.USER_DELETE: "remove users",
    Permission.DAEMON_KEYS: "rotate the keys that sign access tokens and the audit log",
    Permission.DAEMON_STOP: "end the daemon, on its own machine; sessions go on",
    Permission.SESSION_CREATE: "start a session",
    Permission.SESSION_READ: "see that a session exists, its state and its isolation report",
    Permission.SESSION_CONTENT: "read a session's timeline",
    Permission.SESSION_DRIVE: "send input to a session that one drives, and hand that over",
    Permission.SESSION_MANAGE: "change a session's limits, and let it go on after a pause",
    Permission.SESSION_STOP: "interrupt, pause and stop a session",
    Permission.SESSION_REMOVE: "delete an ended session with all that it left",
    Permission.SESSION_REPORT: "say in a session's timeline how far it is (a session itself alone)",
    Permission.APPROVAL_READ: "see what sessions ask for, and standing grants",
    Permission.APPROVAL_DECIDE: "answer what a session asks for, and revoke grants",
    Permission.APPROVAL_REQUEST: "ask a person to allow something (a session itself alone)",
    Permission.ARTEFACT_READ: "list and read a session's artefacts",
    Permission.AGENT_READ: "list agents",
    Permission.AGENT_INSTALL: "install an agent's binary",
    Permission.IMAGE_BUILD: "build an agent's image",
    Permission.IMAGE_READ: "list images",
    Permission.EGRESS_READ: "see what sessions reached for on the network",
    Permission.AUDIT_READ: "read the audit log: one's own records, or everybody's",
    Permission.AUDIT_VERIFY: "get the audit log's checkpoints and what proves them, without a record",
    Permission.AUDIT_RESTART: "begin a new audit log after a damaged or restored one",
    Permission.USAGE_READ: "see what sessions used",
    Permission.SYSTEM_READ: "see the daemon's version, health and what this host can enforce",
}

Grants = Mapping[Permission, Reach]

_ADMIN: dict[Permission, Reach] = {
    Permission.SELF_READ: Reach.OWN,
    Permission.LOGIN_READ: Reach.ANY,
    Permission.LOGIN_REVOKE: Reach.OWN,
    Permission.KEY_READ: Reach.ANY,
    Permission.KEY_CREATE: Reach.OWN,
    Permission.KEY_REVOKE: Reach.ANY,
    Permission.PROJECT_READ: Reach.ANY,
    Permission.PROJECT_CREATE: Reach.OWN,
    Permission.PROJECT_UPDATE: Reach.ANY,
    Permission.ORGANIZATION_READ: Reach.ANY,
    Permission.USER_READ: Reach.ANY,
    Permission.USER_UPDATE: Reach.OWN,
    Permission.USER_PASSWORD: Reach.OWN,
    Permission.SESSION_CREATE: Reach.OWN,
    Permission.SESSION_READ: Reach.ANY,
    Permission.SESSION_CONTENT: Reach.ANY,
    Permission.SESSION_DRIVE: Reach.ANY,
    Permission.SESSION_MANAGE: Reach.ANY,
    Permission.SESSION_STOP: Reach.ANY,
    Permission.SESSION_REMOVE: Reach.ANY,
    Permission.APPROVAL_READ: Reach.ANY,
    Permission.APPROVAL_DECIDE: Reach.ANY,
    Permission.EGRESS_READ: Reach.ANY,
    Permission.USAGE_READ: Reach.ANY,
    Permission.ARTEFACT_READ: Reach.ANY,
    Permission.AGENT_READ: Reach.ANY,
    Permission.AGENT_INSTALL: Reach.ANY,
    Permission.IMAGE_BUILD: Reach.ANY,
    Permission.IMAGE_READ: Reach.ANY,
    Permission.AUDIT_READ: Reach.ANY,
    Permission.AUDIT_VERIFY: Reach.ANY,
    Permission.SYSTEM_READ: Reach.ANY,
}
_OWNER = _ADMIN | {
    Permission.LOGIN_REVOKE: Reach.ANY,
    Permission.ORGANIZATION_CREATE: Reach.ANY,
    Permission.ORGANIZATION_UPDATE: Reach.ANY,
    Permission.ORGANIZATION_DELETE: Reach.ANY,
    Permission.USER_CREATE: Reach.ANY,
    Permission.USER_UPDATE: Reach.ANY,
    Permission.USER_PASSWORD: Reach.ANY,
    Permission.USER_ADMINISTER: Reach.ANY,
    Permission.USER_DELETE: Reach.ANY,
    Permission.DAEMON_KEYS: Reach.ANY,
    Permission.DAEMON_STOP: Reach.ANY,
    Permission.AUDIT_RESTART: Reach.ANY,
}
_MEMBER: dict[Permission, Reach] = {
    Permission.SELF_READ: Reach.OWN,
    Permission.LOGIN_READ: Reach.OWN,
    Permission.LOGIN_REVOKE: Reach.OWN,
    Permission.KEY_READ: Reach.OWN,
    Permission.KEY_CREATE: Reach.OWN,
    Permission.KEY_REVOKE: Reach.OWN,
    Permission.PROJECT_READ: Reach.PROJECT,
    Permission.PROJECT_CREATE: Reach.OWN,
    Permission.PROJECT_UPDATE: Reach.OWN,
    Permission.ORGANIZATION_READ: Reach.ANY,
    Permission.USER_READ: Reach.OWN,
    Permission.USER_UPDATE: Reach.OWN,
    Permission.USER_PASSWORD: Reach.OWN,
    Permission.SESSION_CREATE: Reach.OWN,
    Permission.SESSION_READ: Reach.PROJECT,
    Permission.SESSION_CONTENT: Reach.PROJECT,
    Permission.SESSION_DRIVE: Reach.PROJECT,
    Permission.SESSION_MANAGE: Reach.OWN,
    Permission.SESSION_STOP: Reach.OWN,
    Permission.SESSION_REMOVE: Reach.OWN,
    Permission.APPROVAL_READ: Reach.OWN,
    Permission.APPROVAL_DECIDE: Reach.OWN,
    Permission.EGRESS_READ: Reach.OWN,
    Permission.USAGE_READ: Reach.OWN,
    Permission.ARTEFACT_READ: Reach.PROJECT,
    Permission.AGENT_READ: Reach.ANY,
    Permission.IMAGE_READ: Reach.ANY,
    Permission.AUDIT_READ: Reach.OWN,
    Permission.AUDIT_VERIFY: Reach.ANY,
    Permission.SYSTEM_READ: Reach.ANY,
}
_AGENT: dict[Permission, Reach] = {
    Permission.SELF_READ: Reach.OWN,
    Permission.PROJECT_READ: Reach.PROJECT,
    Permission.SESSION_CREATE: Reach.OWN,
    Permission.SESSION_READ: Reach.OWN,
    Permission.SESSION_CONTENT: Reach.OWN,
    Permission.SESSION_DRIVE: Reach.OWN,
    Permission.SESSION_MANAGE: Reach.OWN,
    Permission.SESSION_STOP: Reach.OWN,
    Permission.APPROVAL_READ: Reach.OWN,
    Permission.EGRESS_READ: Reach.OWN,
    Permission.USAGE_READ: Reach.OWN,
    Permission.ARTEFACT_READ: Reach.OWN,
    Permission.AGENT_READ: Reach.ANY,
    Permission.AUDIT_READ: Reach.OWN,
    Permission.AUDIT_VERIFY: Reach.ANY,
    Permission.SYSTEM_READ: Reach.ANY,
}

ROLES: Mapping[Role, Grants] = MappingProxyType(
    {
        Role.OWNER: _OWNER,
        Role.ADMIN: _ADMIN,
        Role.MEMBER: _MEMBER,
        Role.AGENT: _AGENT,
    }
)
"""What is not in a role's row, the role may not."""

DRIVER: frozenset[Permission] = frozenset(
    {Permission.SESSION_STOP, Permission.APPROVAL_READ, Permission.APPROVAL_DECIDE}
)
"""What reaches a session that one drives as if it were one's own; of approvals those that are part of the talk."""

SESSION_TOKEN: frozenset[Permission] = frozenset(
    {Permission.SESSION_READ, Permission.SESSION_REPORT, Permission.SESSION_STOP, Permission.APPROVAL_REQUEST}
)
"""What a session may by the token in its sandbox: with itself alone, at its own door alone."""

KEY_GROUPS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ci_cd": frozenset(
            {
                Permission.SELF_READ,
                Permission.PROJECT_READ,
                Permission.SESSION_CREATE,
                Permission.SESSION_READ,
                Permission.SESSION_CONTENT,
                Permission.SESSION_STOP,
                Permission.ARTEFACT_READ,
                Permission.AGENT_READ,
                Permission.IMAGE_READ,
                Permission.AUDIT_VERIFY,
                Permission.SYSTEM_READ,
            }
        ),
        "agent_execution": frozenset(
            {
                Permission.SELF_READ,
                Permission.PROJECT_READ,
                Permission.SESSION_CREATE,
                Permission.SESSION_READ,
                Permission.SESSION_CONTENT,
                Permission.SESSION_DRIVE,
                Permission.SESSION_MANAGE,
                Permission.SESSION_STOP,
                Permission.APPROVAL_READ,
                Permission.ARTEFACT_READ,
                Permission.AGENT_READ,
                Permission.AUDIT_VERIFY,
                Permission.SYSTEM_READ,
            }
        ),
        "read_only": frozenset(
            {one for one in Permission if one.endswith(":read")} | {Permission.SESSION_CONTENT, Permission.AUDIT_VERIFY}
        ),
    }
)
"""What keys of a group may do, where their maker may: with what is the maker's own and shared, never everybody's."""


@cache
def grants(role: Role, scopes: frozenset[str] | None = None) -> Grants:
    """What `role` may do, cut down to a key's `scopes` where there are some."""
    held = ROLES[role]
    if scopes is None:
        return held
    allowed = reach_of(scopes)
    cut = {permission: min(reach, allowed.get(permission, Reach.NONE)) for permission, reach in held.items()}
    return {permission: reach for permission, reach in cut.items() if reach}


def reach_of(scopes: Iterable[str]) -> dict[Permission, Reach]:
    """What scopes name: `session:read` goes as far as the caller's projects, `session:read@any` to everybody's.

    Raises ValueError for what is no permission.
    """
    found: dict[Permission, Reach] = {}
    for scope in scopes:
        name, at, reach = scope.partition("@")
        if at and reach != "any":
            raise ValueError(f"scope {scope!r}: a scope is resource:action or resource:action@any")
        permission = Permission(name)
        found[permission] = max(found.get(permission, Reach.NONE), Reach.ANY if at else Reach.PROJECT)
    return found
