"""Who is a user, and what does one say to add or change one?"""

from __future__ import annotations

from typing import Literal

import msgspec

PersonRole = Literal["owner", "admin", "member"]
"""The role agent is for machines: a key of group agent_execution has it."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is where the membership comes from: given, system (the machine's own account) or group."""

    id: str
    name: str
    role: str
    state: str
    source: str
    created: str
    full_name: str = ""
    unix_user: str = ""
    password: bool = False


class UserList(msgspec.Struct, frozen=True):
    users: list[User]


class UserCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`unix_user` is an account of the server: its peer on the socket is this user. Without it and a password nobody
    can come in by that name yet.
    """

    name: str
    role: PersonRole = "member"
    full_name: str = ""
    unix_user: str | None = None
    password: str | None = None


class UserUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may change about itself."""

    full_name: str


class MembershipUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is None stays. `unix_user` "" takes the account away; `unlock` forgets the wrong passwords given so far."""

    role: PersonRole | None = None
    state: Literal["active", "disabled"] | None = None
    unix_user: str | None = None
    unlock: bool = False

    @property
    def takes_away(self) -> bool:
        """Disabling a user works even when the audit log can't be written."""
        return self == MembershipUpdate(state="disabled")


class PasswordSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Other logins of the user end."""

    password: str


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """`initialized` is when it got its first owner."""

    id: str
    name: str
    created: str
    initialized: str | None = None
    members: int = 0
    owners: list[str] = []


class OrganizationInit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The organization's name and its first owner; by default the account that asks."""

    name: str
    user: str | None = None
    full_name: str = ""
    unix_user: str | None = None
    password: str | None = None


class OrganizationUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class OrganizationTransfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`user` becomes owner, whoever asks admin."""

    user: str


class OrganizationDelete(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` is the organization's, so that it is meant."""

    name: str
