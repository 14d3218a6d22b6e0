"""Does an API key do what its scopes say, and never more than its maker may now?"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from eleagent.errors import NotFound
from eleagent.permissions import Reach, Role
from eleagent.roles import KEY_GROUPS
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.identity import throttle
from eleagent_daemon.store.people import UserState

from .conftest import House, house


async def make(home: House, token: str, **wanted: Any) -> Any:
    body = {"note": "ci"} | wanted
    return await home.tcp("POST", "/v1/keys", token=token, json=body)


async def key_of(home: House, user: str = "ada", **wanted: Any) -> str:
    answer = await make(home, (await home.login(user)).access, **(wanted or {"group": "ci_cd"}))
    assert answer.status == 201, answer
    return str(answer.json["secret"])


async def test_key_is_shown_once_and_kept_as_a_hash(home: House) -> None:
    access = (await home.login()).access
    answer = await make(home, access, group="ci_cd")
    secret, key = answer.json["secret"], answer.json["key"]
    assert re.fullmatch(r"eak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", secret)
    assert key["id"] in secret
    assert set(key["scopes"]) == KEY_GROUPS["ci_cd"]
    found = (await home.tcp("GET", "/v1/whoami", token=secret)).json
    assert (found["user"], found["via"], found["credential"]) == ("ada", "key", key["id"])
    listed = (await home.tcp("GET", "/v1/keys", token=access)).json["keys"]
    assert [one["id"] for one in listed] == [key["id"]]
    assert listed[0]["used"] is not None
    assert {record["session"] for record in home.api.records()} == {""}
    for place in (home.api.recorded(), *(path.read_bytes() for path in home.api.socket.parent.glob("auth.db*"))):
        assert secret.encode() not in place
        assert secret[-49:-6].encode() not in place


async def test_key_does_what_its_scopes_say(home: House) -> None:
    home.api.handlers.answers |= {"status": {}, "image_build": {}, "agent_list": {"agents": []}}
    key = await key_of(home, scopes=["system:read"])
    assert (await home.tcp("GET", "/v1/status", token=key)).status == 200
    for method, path in (("GET", "/v1/agents"), ("POST", "/v1/images"), ("GET", "/v1/users"), ("POST", "/v1/logout")):
        assert (await home.tcp(method, path, token=key, json={"agent": "x"})).status == 403


async def test_key_never_does_more_than_its_maker_may_now(home: House) -> None:
    await home.add("bob", Role.ADMIN)
    home.api.handlers.answers["image_list"] = {"images": []}
    key = await key_of(home, "bob", scopes=["image:read", "user:read@any"])
    names = [user["name"] for user in (await home.tcp("GET", "/v1/users", token=key)).json["users"]]
    assert {"ada", "bob"} <= set(names)
    await home.people.update_user("bob", role=Role.MEMBER)
    names = [user["name"] for user in (await home.tcp("GET", "/v1/users", token=key)).json["users"]]
    assert names == ["bob"]
    await home.people.update_user("bob", state=UserState.DISABLED)
    assert (await home.tcp("GET", "/v1/users", token=key)).status == 401


async def test_key_of_own_scopes_does_not_reach_others(home: House) -> None:
    await home.add("bob")
    key = await key_of(home, scopes=["user:read"])
    assert [one["name"] for one in (await home.tcp("GET", "/v1/users", token=key)).json["users"]] == ["ada"]
    assert (await home.tcp("GET", "/v1/users/bob", token=key)).status == 404


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 400), ({"group": "ci_cd", "scopes": ["session:read"]}, 400), ({"group": "all"}, 400),
        ({"scopes": ["everything"]}, 400), ({"scopes": ["session:read@all"]}, 400),
        ({"group": "ci_cd", "days": 0}, 400), ({"group": "ci_cd", "days": 366}, 400),
        ({"group": "ci_cd", "note": " "}, 400),
        ({"group": "ci_cd", "networks": ["10.0.0.0/99"]}, 400), ({"group": "ci_cd", "sessions": 0}, 400),
        ({"group": "ci_cd", "day_usd": 0}, 400),
        ({"scopes": ["user:create"]}, 403), ({"scopes": ["session:read@any"]}, 403), ({"scopes": ["image:build"]}, 403),
        ({"scopes": ["session:read"]}, 201),
    ],
)  # fmt: skip
async def test_key_that_is_wrong_or_too_much_for_a_member_is_not_made(
    home: House, wanted: dict[str, Any], status: int
) -> None:
    await home.add("bob")
    assert (await make(home, (await home.login("bob")).access, **wanted)).status == status
    assert len(home.identity.keys.list_keys(Sight(reach=Reach.ANY, user=""))) == (status == 201)


async def test_key_makes_no_keys_and_does_no_dangerous_act(home: House) -> None:
    key = await key_of(home, scopes=["key:create", "user:create@any", "self:read"])
    for path, body in (("/v1/keys", {"note": "x", "group": "ci_cd"}), ("/v1/users", {"name": "eve"})):
        answer = await home.tcp("POST", path, token=key, json=body)
        assert (answer.status, "an API key can't" in answer.json["detail"]) == (403, True)


async def test_key_ends_when_it_expires_or_is_revoked(home: House) -> None:
    access = (await home.login()).access
    made = (await make(home, access, group="read_only", days=1)).json
    home.clock.ahead = 86401
    assert (await home.tcp("GET", "/v1/whoami", token=made["secret"])).status == 401
    home.clock.ahead = 0
    assert (await home.tcp("GET", "/v1/whoami", token=made["secret"])).status == 200
    gone = await home.tcp("DELETE", f"/v1/keys/{made['key']['id']}", token=access)
    assert (gone.status, gone.json["id"]) == (200, made["key"]["id"])
    assert (await home.tcp("GET", "/v1/whoami", token=made["secret"])).status == 401


async def test_key_is_its_makers_and_the_admins(home: House) -> None:
    await home.add("bob")
    await home.add("eve")
    await key_of(home, "bob")
    eve = (await home.login("eve")).access
    (key,) = (await home.tcp("GET", "/v1/keys", token=(await home.login("bob")).access)).json["keys"]
    assert (await home.tcp("GET", "/v1/keys", token=eve)).json["keys"] == []
    assert (await home.tcp("DELETE", f"/v1/keys/{key['id']}", token=eve)).status == 404
    assert (await home.tcp("DELETE", f"/v1/keys/{key['id']}", token=(await home.login("ada")).access)).status == 200


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("127.0.0.1", 200), ("192.0.2.0/24", 401)])
async def test_key_comes_from_its_networks_alone(home: House, network: str, status: int) -> None:
    key = await key_of(home, group="ci_cd", networks=[network])
    assert (await home.tcp("GET", "/v1/whoami", token=key)).status == status


async def test_key_bound_to_projects_knows_nothing_else() -> None:
    things = {
        "theirs": Owned(id="s-theirsthei", owner="bob", project="apollo"),
        "mine": Owned(id="s-mineminemi", owner="ada", project="zeus"),
    }

    async def find(text: str, sight: Sight) -> Owned:
        if not sight.reaches(things[text]):
            raise NotFound(f"no session {text!r}")
        return things[text]

    async with house(resolve=find) as home:
        key = await key_of(home, scopes=["session:read@any", "user:read@any"], projects=["apollo"])
        assert (await home.tcp("GET", "/v1/users", token=key)).json["users"] == []
        assert (await home.tcp("GET", "/v1/sessions/theirs", token=key)).status == 200
        assert (await home.tcp("GET", "/v1/sessions/mine", token=key)).status == 404


async def test_key_survives_a_rotation_of_the_pepper(home: House) -> None:
    key = await key_of(home)
    before = home.identity.keyring.pepper
    await asyncio.to_thread(lambda: home.identity.keyring.rotate(at_once=True))
    assert home.identity.keyring.pepper != before
    for _ in range(2):
        assert (await home.tcp("GET", "/v1/whoami", token=key)).status == 200
    row = home.identity.keys.find(key[4:16])
    assert row is not None
    assert row.pepper == home.identity.keyring.pepper, "its hash was made anew"


async def test_key_that_is_guessed_is_slowed_down(home: House) -> None:
    key = await key_of(home)
    wrong = [key[:20] + ("0" if key[20] != "0" else "1") + key[21:], key[:-1], "eak_" + "0" * 62, "eak_"]
    flood = (home.tcp("GET", "/v1/whoami", token=wrong[n % 4]) for n in range(throttle.BURST + 2))
    statuses = sorted(answer.status for answer in await asyncio.gather(*flood))
    assert statuses == [401] * throttle.BURST + [429] * 2
