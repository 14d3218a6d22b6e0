"""What is a project, and what does one say to make or change one?"""

from __future__ import annotations

import msgspec


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Its members (`users`, and who is in one of the server's `groups`) see each other's sessions in it, unless they
    are private. Only `agents` may work in it where some are named; `sessions` may be alive in it at a time.
    """

    name: str
    owner: str
    created: str
    description: str = ""
    agents: list[str] = []
    sessions: int | None = None
    users: list[str] = []
    groups: list[str] = []
    archived: bool = False


class ProjectList(msgspec.Struct, frozen=True):
    projects: list[Project]


class ProjectCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who makes it is its owner and first member."""

    name: str
    description: str = ""
    agents: list[str] = []
    sessions: int | None = None


class ProjectUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is None stays; `sessions` 0 takes the limit away. In an archived project nothing new starts."""

    description: str | None = None
    agents: list[str] | None = None
    sessions: int | None = None
    archived: bool | None = None


class ProjectMembers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Users by name, and groups of the server by name, to let in and out."""

    add_users: list[str] = []
    add_groups: list[str] = []
    remove_users: list[str] = []
    remove_groups: list[str] = []
