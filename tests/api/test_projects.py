"""Do projects share what is in them with their members, and with nobody else?"""

from __future__ import annotations

import grp
from typing import Any

import pytest

from eleagent.errors import EleAgentError
from eleagent.permissions import Permission, Reach, Role
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.api.identity import NOBODY
from eleagent_daemon.domain.access import Sight
from eleagent_daemon.identity.projects import Start
from eleagent_daemon.store.apikeys import Bounds

from .conftest import Answered, House


@pytest.fixture
async def token(home: House) -> str:
    await home.add("bob")
    await home.add("eve")
    return (await home.login("bob")).access


async def ask(home: House, token: str, method: str, path: str, **more: Any) -> Answered:
    return await home.tcp(method, path, token=token, **more)


async def names(home: House, token: str) -> list[str]:
    return [one["name"] for one in (await ask(home, token, "GET", "/v1/projects")).json["projects"]]


async def test_project_is_its_makers_to_share(home: House, token: str) -> None:
    eve = (await home.login("eve")).access
    made = await ask(home, token, "POST", "/v1/projects", json={"name": "apollo", "description": "to the moon"})
    assert (made.status, made.json["owner"], made.json["users"]) == (201, "bob", ["bob"])
    assert await names(home, eve) == []
    assert (await ask(home, eve, "GET", "/v1/projects/apollo")).status == 404
    shared = await ask(home, token, "POST", "/v1/projects/apollo/members", json={"add_users": ["eve"]})
    assert shared.json["users"] == ["bob", "eve"]
    assert await names(home, eve) == ["apollo"]
    assert (await home.tcp("GET", "/v1/whoami", token=eve)).json["projects"] == ["apollo"]
    assert (await ask(home, eve, "PATCH", "/v1/projects/apollo", json={"archived": True})).status == 403
    await ask(home, token, "POST", "/v1/projects/apollo/members", json={"remove_users": ["eve"]})
    assert await names(home, eve) == []
    assert await names(home, (await home.login("ada")).access) == ["apollo"], "the organization's owner sees all"


async def test_project_takes_in_a_group_of_the_machine(home: House, token: str) -> None:
    root = grp.getgrgid(0).gr_name
    await ask(home, token, "POST", "/v1/projects", json={"name": "apollo"})
    answer = await ask(home, token, "POST", "/v1/projects/apollo/members", json={"add_groups": [root]})
    assert answer.json["groups"] == [root]
    assert home.identity.project_rows.of("somebody", frozenset({0})) == {"apollo"}
    assert home.identity.project_rows.of("somebody", frozenset({1})) == frozenset()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/projects", {"name": "A"}, 400), ("/v1/projects", {"name": ""}, 400),
        ("/v1/projects", {"name": "../x"}, 400),
        ("/v1/projects", {"name": "default"}, 409), ("/v1/projects", {"name": "apollo"}, 409),
        ("/v1/projects", {"name": "x", "description": "a\nb"}, 400),
        ("/v1/projects", {"name": "x", "sessions": -1}, 400),
        ("/v1/projects/apollo/members", {"add_users": ["nobody"]}, 400),
        ("/v1/projects/apollo/members", {"add_groups": ["no-such-group"]}, 400),
    ],
)  # fmt: skip
async def test_project_that_is_wrong_is_refused(
    home: House, token: str, path: str, body: dict[str, Any], status: int
) -> None:
    await ask(home, token, "POST", "/v1/projects", json={"name": "apollo"})
    assert (await ask(home, token, "POST", path, json=body)).status == status


CLAUDE = Bounds(scopes=frozenset(), agents=frozenset({"claude"}))


def live(project: str = "apollo", credential: str = "") -> Session:
    return Session(
        key="s-aaaaaaaaaa", name="n", state=State.RUNNING, agent="claude", owner="bob", created="",
        project=project, credential=credential,
    )  # fmt: skip


def start(*, user: str = "bob", within: frozenset[str] | None = None, bounds: Bounds | None = None, local: bool = True,
          projects: frozenset[str] = frozenset({"apollo"})) -> Start:  # fmt: skip
    sight = Sight(reach=Reach.PROJECT, user=user, projects=projects, within=within)
    return Start(sight=sight, local=local, bounds=bounds, credential="AbC")


@pytest.mark.parametrize(
    ("wanted", "who", "alive", "told"),
    [
        ({"project": "apollo"}, start(), [], "apollo"),
        ({}, start(), [], "default"),
        ({"project": "apollo"}, start(user="eve", projects=frozenset()), [], "404"),
        ({"project": "none"}, start(), [], "404"),
        ({"project": "apollo", "agent": "command"}, start(), [], "not command"),
        ({"project": "apollo"}, start(), [live(), live()], "may have 2"),
        ({"project": "apollo"}, start(), [live(), live("default")], "apollo"),
        ({"data": ["/etc"]}, start(local=False), [], "paths of the server"),
        ({"data": ["/etc"]}, start(), [], "default"),
        ({}, start(within=frozenset({"apollo"})), [], "apollo"),
        ({"project": "default"}, start(within=frozenset({"apollo"})), [], "404"),
        ({"agent": "command"}, start(bounds=CLAUDE), [], "may start claude"),
        ({}, start(bounds=Bounds(scopes=frozenset(), sessions=1)), [live(credential="AbC")], "may have 1"),
        ({}, start(bounds=Bounds(scopes=frozenset(), sessions=1)), [live(credential="other")], "default"),
    ],
)  # fmt: skip
async def test_session_starts_where_its_caller_may(
    home: House, token: str, wanted: dict[str, Any], who: Start, alive: list[Session], told: str
) -> None:
    body = {"name": "apollo", "agents": ["claude"], "sessions": 2}
    await ask(home, token, "POST", "/v1/projects", json=body)
    try:
        found = home.identity.projects.check_start(SessionCreate(**wanted), who)
        home.identity.projects.check_room(found, who, alive)
    except EleAgentError as err:
        found = f"{err.status} {err.message}"
    assert told in found


async def test_session_does_not_start_in_an_archived_project(home: House, token: str) -> None:
    await ask(home, token, "POST", "/v1/projects", json={"name": "apollo"})
    await ask(home, token, "PATCH", "/v1/projects/apollo", json={"archived": True})
    with pytest.raises(EleAgentError, match="--restore"):
        home.identity.projects.check_start(SessionCreate(project="apollo"), start())


async def test_caller_over_tcp_has_nobodys_rights_to_paths(home: House, token: str) -> None:
    home.api.handlers.answers["status"] = {}
    await ask(home, token, "GET", "/v1/status")
    (call,) = home.api.handlers.calls
    assert call.caller.identity is NOBODY
    assert call.caller.role is Role.MEMBER
    assert call.caller.reach(Permission.SESSION_READ) is Reach.PROJECT
