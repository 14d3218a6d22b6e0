"""Which operations are there on users and their logins?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import logins, users

USER_LIST: Final = Operation(
    id="user_list", method="GET", path="/v1/users", permission=Permission.USER_READ, audit="user.list",
    effect=Effect.READ, summary="The users that the caller may see", result=users.UserList,
)  # fmt: skip
USER_GET: Final = Operation(
    id="user_get", method="GET", path="/v1/users/{user}", permission=Permission.USER_READ, audit="user.show",
    effect=Effect.READ, summary="One user by name", result=users.User,
)  # fmt: skip
USER_CREATE: Final = Operation(
    id="user_create", method="POST", path="/v1/users", permission=Permission.USER_CREATE, audit="user.create",
    effect=Effect.ACT, summary="Add a user", body=users.UserCreate, body_kind=Body.JSON, result=users.User, status=201,
    step_up=True, recorded=("name", "role", "unix_user"),
)  # fmt: skip
USER_UPDATE: Final = Operation(
    id="user_update", method="PATCH", path="/v1/users/{user}", permission=Permission.USER_UPDATE, audit="user.update",
    effect=Effect.ACT, summary="Change what a user says about itself", body=users.UserUpdate, body_kind=Body.JSON,
    result=users.User,
)  # fmt: skip
USER_ADMINISTER: Final = Operation(
    id="user_administer", method="PATCH", path="/v1/users/{user}/membership", permission=Permission.USER_ADMINISTER,
    audit="user.administer", effect=Effect.ACT, summary="Change a user's role, state or Unix account, or unlock it",
    body=users.MembershipUpdate, body_kind=Body.JSON, result=users.User, step_up=True,
    recorded=("role", "state", "unix_user", "unlock"),
)  # fmt: skip
USER_PASSWORD: Final = Operation(
    id="user_password", method="PUT", path="/v1/users/{user}/password", permission=Permission.USER_PASSWORD,
    audit="user.password", effect=Effect.ACT, summary="Set a user's password; its other logins end",
    body=users.PasswordSet, body_kind=Body.JSON, result=users.User, step_up=True,
)  # fmt: skip
USER_DELETE: Final = Operation(
    id="user_delete", method="DELETE", path="/v1/users/{user}", permission=Permission.USER_DELETE, audit="user.delete",
    effect=Effect.ACT, summary="Remove a user; its name is never given again, what it owned stays",
    result=users.User, step_up=True,
)  # fmt: skip
LOGIN_LIST: Final = Operation(
    id="login_list", method="GET", path="/v1/logins", permission=Permission.LOGIN_READ, audit="login.list",
    effect=Effect.READ, summary="The logins that the caller may see", result=logins.LoginList,
)  # fmt: skip
LOGIN_REVOKE: Final = Operation(
    id="login_revoke", method="DELETE", path="/v1/logins/{login}", permission=Permission.LOGIN_REVOKE,
    audit="login.revoke", effect=Effect.TAKE_AWAY, summary="End a login at once", result=logins.LoginEnded,
)  # fmt: skip
