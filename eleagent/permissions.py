"""Which permissions are there, who holds them, and how far can one reach? Who may do what is told in `roles`."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    AGENT = "agent"


class Reach(IntEnum):
    """How far a permission goes. OWN: what is the caller's. PROJECT: what others share with the caller's projects too.
    ANY: everybody's.
    """

    NONE = 0
    OWN = 1
    PROJECT = 2
    ANY = 3

    def __str__(self) -> str:
        return self.name.lower()


class Permission(StrEnum):
    """`resource:action`."""

    SELF_READ = "self:read"
    LOGIN_CREATE = "login:create"
    LOGIN_READ = "login:read"
    LOGIN_REVOKE = "login:revoke"
    KEY_READ = "key:read"
    KEY_CREATE = "key:create"
    KEY_REVOKE = "key:revoke"
    PROJECT_READ = "project:read"
    PROJECT_CREATE = "project:create"
    PROJECT_UPDATE = "project:update"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_CREATE = "organization:create"
    ORGANIZATION_UPDATE = "organization:update"
    ORGANIZATION_DELETE = "organization:delete"
    USER_READ = "user:read"
    USER_CREATE = "user:create"
    USER_UPDATE = "user:update"
    USER_PASSWORD = "user:password"  # noqa: S105  # no secret: a permission's name
    USER_ADMINISTER = "user:administer"
    USER_DELETE = "user:delete"
    DAEMON_KEYS = "daemon:keys"
    DAEMON_STOP = "daemon:stop"
    SESSION_CREATE = "session:create"
    SESSION_READ = "session:read"
    SESSION_CONTENT = "session:content"
    SESSION_DRIVE = "session:drive"
    SESSION_MANAGE = "session:manage"
    SESSION_STOP = "session:stop"
    SESSION_REMOVE = "session:remove"
    SESSION_REPORT = "session:report"
    APPROVAL_READ = "approval:read"
    APPROVAL_DECIDE = "approval:decide"
    APPROVAL_REQUEST = "approval:request"
    ARTEFACT_READ = "artefact:read"
    AGENT_READ = "agent:read"
    AGENT_INSTALL = "agent:install"
    IMAGE_BUILD = "image:build"
    IMAGE_READ = "image:read"
    EGRESS_READ = "egress:read"
    AUDIT_READ = "audit:read"
    AUDIT_VERIFY = "audit:verify"
    AUDIT_RESTART = "audit:restart"
    USAGE_READ = "usage:read"
    SYSTEM_READ = "system:read"
