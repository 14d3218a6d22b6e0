"""Which operations are there on logins, and on who one is?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import logins

LOGIN_CREATE: Final = Operation(
    id="login", method="POST", path="/v1/login", permission=Permission.LOGIN_CREATE, anyone=True, audit="login.create",
    effect=Effect.ACT, summary="Log in with a password", body=logins.LoginCreate, body_kind=Body.JSON,
    limit_bytes=4096, result=logins.Tokens, noted=("user", "login"),
)  # fmt: skip
LOGIN_REFRESH: Final = Operation(
    id="login_refresh", method="POST", path="/v1/login/refresh", permission=Permission.LOGIN_CREATE, anyone=True,
    audit="login.refresh", effect=Effect.ACT, summary="The next pair of tokens; a refresh token is good once",
    body=logins.LoginRefresh, body_kind=Body.JSON, limit_bytes=4096, result=logins.Tokens,
    noted=("user", "login", "why"),
)  # fmt: skip
LOGIN_CONFIRM: Final = Operation(
    id="login_confirm", method="POST", path="/v1/login/confirm", permission=Permission.SELF_READ, audit="login.confirm",
    effect=Effect.ACT, summary="Give the password of this login once more, for what needs a fresh one",
    body=logins.LoginConfirm, body_kind=Body.JSON, limit_bytes=4096, result=logins.Login,
)  # fmt: skip
LOGOUT: Final = Operation(
    id="logout", method="POST", path="/v1/logout", permission=Permission.SELF_READ, audit="login.end",
    effect=Effect.TAKE_AWAY, summary="End the login that this request came with", result=logins.LoginEnded,
)  # fmt: skip
WHOAMI: Final = Operation(
    id="whoami", method="GET", path="/v1/whoami", permission=Permission.SELF_READ, audit="self.show",
    effect=Effect.READ, summary="Who the daemon takes you for and what you may do", result=logins.Whoami,
)  # fmt: skip
