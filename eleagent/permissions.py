"""Who may do what: the one table of permissions and what each role holds."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    AGENT = "agent"


class Permission(StrEnum):
    """`resource:action`; the text beside each is what the documentation shows."""

    SESSION_CREATE = "session:create"
    SESSION_READ = "session:read"
    SESSION_CONTENT = "session:content"
    SESSION_DRIVE = "session:drive"
    SESSION_STOP = "session:stop"
    SESSION_REMOVE = "session:remove"
    APPROVAL_READ = "approval:read"
    APPROVAL_DECIDE = "approval:decide"
    ARTEFACT_READ = "artefact:read"
    AGENT_READ = "agent:read"
    AGENT_INSTALL = "agent:install"
    IMAGE_BUILD = "image:build"
    IMAGE_READ = "image:read"
    EGRESS_READ = "egress:read"
    EGRESS_READ_ALL = "egress:read_all"
    AUDIT_READ = "audit:read"
    AUDIT_READ_ALL = "audit:read_all"
    AUDIT_VERIFY = "audit:verify"
    AUDIT_RESTART = "audit:restart"
    USAGE_READ = "usage:read"
    SYSTEM_READ = "system:read"


DESCRIPTIONS: dict[Permission, str] = {
    Permission.SESSION_CREATE: "start a session",
    Permission.SESSION_READ: "see that a session exists, its state and its isolation report",
    Permission.SESSION_CONTENT: "read a session's timeline",
    Permission.SESSION_DRIVE: "send input to a session",
    Permission.SESSION_STOP: "interrupt, pause and stop a session",
    Permission.SESSION_REMOVE: "delete an ended session with all that it left",
    Permission.APPROVAL_READ: "see what sessions ask for, and standing grants",
    Permission.APPROVAL_DECIDE: "answer what a session asks for, and revoke grants",
    Permission.ARTEFACT_READ: "list and read a session's artefacts",
    Permission.AGENT_READ: "list agents",
    Permission.AGENT_INSTALL: "install an agent's binary",
    Permission.IMAGE_BUILD: "build an agent's image",
    Permission.IMAGE_READ: "list images",
    Permission.EGRESS_READ: "see what one's own sessions reached for on the network",
    Permission.EGRESS_READ_ALL: "see what everybody's sessions reached for on the network",
    Permission.AUDIT_READ: "read one's own records in the audit log",
    Permission.AUDIT_READ_ALL: "read everybody's records in the audit log",
    Permission.AUDIT_VERIFY: "get the audit log's checkpoints and what proves them, without a record",
    Permission.AUDIT_RESTART: "begin a new audit log after a damaged or restored one",
    Permission.USAGE_READ: "see what sessions used: a member his own, an administrator everybody's",
    Permission.SYSTEM_READ: "see the daemon's version, health and what this host can enforce",
}

_MEMBER = frozenset(
    {
        Permission.SESSION_CREATE,
        Permission.SESSION_READ,
        Permission.SESSION_CONTENT,
        Permission.SESSION_DRIVE,
        Permission.SESSION_STOP,
        Permission.SESSION_REMOVE,
        Permission.APPROVAL_READ,
        Permission.APPROVAL_DECIDE,
        Permission.ARTEFACT_READ,
        Permission.AGENT_READ,
        Permission.IMAGE_READ,
        Permission.USAGE_READ,
        Permission.SYSTEM_READ,
        Permission.EGRESS_READ,
        Permission.AUDIT_READ,
        Permission.AUDIT_VERIFY,
    }
)

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(Permission),
    Role.MEMBER: _MEMBER,
    Role.AGENT: frozenset(
        {
            Permission.SESSION_CREATE,
            Permission.SESSION_READ,
            Permission.AGENT_READ,
            Permission.SYSTEM_READ,
            Permission.AUDIT_READ,
            Permission.AUDIT_VERIFY,
        }
    ),
}


def may(role: Role, permission: Permission) -> bool:
    """Whether `role` holds `permission`; what is not in the table is refused."""
    return permission in ROLE_PERMISSIONS[role]
