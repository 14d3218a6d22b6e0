"""Who may do what to whose, as the pipeline decides it from the table of operations?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from eleagent.errors import EleAgentError, Unauthenticated
from eleagent.operations.operation import Operation
from eleagent.permissions import Role
from eleagent.roles import KEY_GROUPS
from eleagent.wire.logins import Via
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.pipeline import STEP_UP_S, check_permission, check_reach
from eleagent_daemon.domain.access import Owned, Sight

PROJECT: Final = "apollo"


@dataclass(frozen=True)
class Principal:
    """`caller` is None for one who is nobody here (any more)."""

    name: str
    caller: Caller | None


def _person(user: str, role: Role, *, ago_s: float = 0.0) -> Caller:
    return Caller(
        name=user, role=role, identity=NOBODY, via=Via.LOGIN, projects=frozenset({PROJECT}),
        confirmed=time.time() - ago_s,
    )  # fmt: skip


def _key(group: str) -> Caller:
    return Caller(
        name="bob", role=Role.MEMBER, identity=NOBODY, via=Via.KEY, projects=frozenset({PROJECT}),
        scopes=KEY_GROUPS[group],
    )  # fmt: skip


NOBODIES: Final = ("nobody", "malformed", "expired", "revoked", "disabled", "session")
PRINCIPALS: Final = (
    *(Principal(name, None) for name in NOBODIES),
    Principal("owner", _person("ada", Role.OWNER)),
    Principal("stale", _person("ada", Role.OWNER, ago_s=STEP_UP_S + 1)),
    Principal("admin", _person("adam", Role.ADMIN)),
    Principal("member", _person("bob", Role.MEMBER)),
    Principal("demoted", _person("carol", Role.MEMBER)),
    Principal("agent", _person("robot", Role.AGENT)),
    *(Principal(group, _key(group)) for group in KEY_GROUPS),
)
OBJECTS: Final = ("own", "driven", "shared", "foreign", "missing")


def thing(name: str, user: str) -> Owned | None:
    """What `own`, `driven`, `shared` and `foreign` are to a user; None for what is missing."""
    owners = {
        "own": (user, "zeus", ""), "driven": ("eve", PROJECT, user), "shared": ("eve", PROJECT, "mia"),
        "foreign": ("eve", "zeus", ""),
    }  # fmt: skip
    if name not in owners:
        return None
    owner, project, driver = owners[name]
    return Owned(id=f"{name}-id", owner=owner, project=project, driver=driver)


def objects(operation: Operation) -> tuple[str, ...]:
    return OBJECTS if operation.target is not None else ("-",)


def decide(operation: Operation, principal: Principal, name: str) -> str:
    """`ok` where the handler is reached, else the status, or `up` for a password that must be given again."""
    if operation.anyone:
        return "ok"
    if principal.caller is None:
        return str(Unauthenticated.status)
    caller = principal.caller
    try:
        check_permission(operation, caller)
        if operation.target is not None:
            found = thing(name, caller.name)
            if found is None or not caller.sight(operation.target.seen_with).reaches(found):
                return "404"
            check_reach(operation, caller, found, reason="")
    except EleAgentError as err:
        return "up" if err.code == "step_up" else str(err.status)
    return "ok"


def cells(operation: Operation) -> dict[tuple[str, str], str]:
    """What comes of it for each object and principal."""
    return {(name, one.name): decide(operation, one, name) for name in objects(operation) for one in PRINCIPALS}


async def resolve(text: str, sight: Sight) -> Owned:
    """What the running app is given to find."""
    from eleagent.errors import NotFound

    found = thing(text, sight.user)
    if found is None or not sight.reaches(found):
        raise NotFound(f"there is nothing called {text!r}")
    return found
