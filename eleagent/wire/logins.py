"""What does one say to log in, and who does the daemon take a caller for?"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LoginCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`note` says to people where this login is from (a host's name)."""

    user: str
    password: str
    note: str = ""


class LoginRefresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`refresh` is good once. One that was used before ends the login: somebody else has it."""

    refresh: str


class LoginConfirm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password once more, for what needs a fresh one (the error `step_up`)."""

    password: str


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a login gives. `access` goes into `Authorization: Bearer …` until `access_expires`; then `refresh` gives the
    next pair, until the login `expires` or was idle for `idle_s`. Times are RFC 3339 in UTC.
    """

    login: str
    user: str
    access: str
    access_expires: str
    refresh: str
    expires: str
    idle_s: float


class Via(StrEnum):
    """How the daemon knows a caller: by the kernel's word, a login, an API key, or as a session's own agent."""

    SOCKET = "socket"
    LOGIN = "login"
    KEY = "key"
    SESSION = "session"


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """`permissions` is what this caller may do now, each with how far: own, project or any. `credential` is the public
    id of the login, key or session that it came with; `expires` is when that ends.
    """

    user: str
    user_id: str
    name: str = ""
    role: str
    organization: str
    via: Via
    credential: str = ""
    expires: str | None = None
    projects: list[str] = []
    permissions: dict[str, str] = {}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """`confirmed` is when its password was given last."""

    id: str
    user: str
    created: str
    confirmed: str
    seen: str
    expires: str
    address: str = ""
    note: str = ""
    current: bool = False


class LoginList(msgspec.Struct, frozen=True):
    logins: list[Login]


class LoginEnded(msgspec.Struct, frozen=True):
    id: str
