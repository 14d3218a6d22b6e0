"""Is the organization founded once, and do its members become exactly what its owners say?"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec
import pytest

from eleagent.permissions import Role
from eleagent_daemon.identity.passwords import Cost, Passwords
from eleagent_daemon.store.people import Source

from .conftest import PASSWORD, Answered, House

OTHER = "nine lamps hang over a quiet harbour"


async def ask(home: House, method: str, path: str, **more: Any) -> Answered:
    return await home.api.request(method, path, **more)


def empty(home: House) -> None:
    home.people.organization = msgspec.structs.replace(home.people.organization, initialized=None)


# The first owner


async def test_init_of_a_hundred_at_once_makes_one_owner(home: House) -> None:
    empty(home)
    wishes = [
        ask(home, "POST", "/v1/organization", json={"name": f"Org {number}", "user": f"user-{number}"})
        for number in range(100)
    ]
    answers = await asyncio.gather(*wishes)
    assert sorted(answer.status for answer in answers) == [201] + [409] * 99
    (made,) = [answer.json for answer in answers if answer.status == 201]
    found = (await ask(home, "GET", "/v1/organization")).json
    assert made["name"] in found["owners"]
    assert [user.name for user in home.people.list_users() if user.name.startswith("user-")] == [made["name"]]


async def test_init_makes_who_asks_the_first_owner(home: House) -> None:
    empty(home)
    answer = await ask(home, "POST", "/v1/organization", json={"name": "Acme"})
    assert (answer.status, answer.json["role"]) == (201, "owner")
    assert answer.json["name"] == (await ask(home, "GET", "/v1/whoami")).json["user"]


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "x" * 101}, {"name": "a\nb"}, {"name": "x", "user": "../a"},
                                  {"name": "x", "user": "ada2", "password": "short"},
                                  {"name": "x", "user": "ada2", "unix_user": "no-such-account"}])  # fmt: skip
async def test_init_that_is_wrong_founds_nothing(home: House, body: dict[str, Any]) -> None:
    empty(home)
    assert (await ask(home, "POST", "/v1/organization", json=body)).status == 400
    assert home.people.organization.initialized is None


async def test_organization_that_is_deleted_knows_nobody_and_waits_for_a_first_owner(home: House) -> None:
    await home.add("bob")
    tokens = await home.login("bob")
    wrong = await ask(home, "POST", "/v1/organization/delete", json={"name": "acme"})
    assert wrong.status == 400
    assert (await ask(home, "POST", "/v1/organization/delete", json={"name": "Acme"})).status == 200
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 503
    assert {user.source for user in home.people.list_users()} == {Source.SYSTEM}
    assert (await ask(home, "POST", "/v1/organization", json={"name": "New", "user": "eve"})).status == 201
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 401


async def test_organization_is_handed_over_whole(home: House) -> None:
    await home.add("bob")
    tokens = await home.login("ada")
    answer = await home.tcp("POST", "/v1/organization/transfer", token=tokens.access, json={"user": "bob"})
    assert (answer.status, "bob" in answer.json["owners"], "ada" in answer.json["owners"]) == (200, True, False)
    assert (home.people.get("ada").role, home.people.get("bob").role) == (Role.ADMIN, Role.OWNER)
    again = await home.tcp("POST", "/v1/organization/transfer", token=tokens.access, json={"user": "ada"})
    assert again.status == 403


# Members


async def test_user_is_added_shown_changed_and_removed_for_good(home: House) -> None:
    made = await ask(home, "POST", "/v1/users", json={"name": "bob", "full_name": "Bob B", "password": OTHER})
    assert (made.status, made.json["role"], made.json["password"]) == (201, "member", True)
    assert OTHER.encode() not in home.api.recorded()
    (intent,) = [one for one in home.api.records() if one["action"] == "user.create" and one["phase"] == "intent"]
    assert intent["details"] == {"name": "bob", "role": "member"}
    tokens = await home.login("bob", OTHER)
    changed = await ask(home, "PATCH", "/v1/users/bob/membership", json={"role": "admin"})
    assert changed.json["role"] == "admin"
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).json["role"] == "admin"
    assert (await ask(home, "DELETE", "/v1/users/bob")).json["state"] == "removed"
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 401
    assert (await ask(home, "GET", "/v1/users/bob")).status == 404
    again = await ask(home, "POST", "/v1/users", json={"name": "bob"})
    assert (again.status, "removed user's" in again.json["detail"]) == (409, True)


@pytest.mark.parametrize(
    "name", ["", "a b", "-x", "../x", "a/b", "ä", "x" * 64, "uid-7", "a\n", "ada\x00", "'; DROP TABLE users"]
)
async def test_user_of_a_strange_name_is_refused(home: House, name: str) -> None:
    assert (await ask(home, "POST", "/v1/users", json={"name": name})).status == 400


@pytest.mark.parametrize("role", ["agent", "root", ""])
async def test_user_has_no_role_but_a_persons(home: House, role: str) -> None:
    assert (await ask(home, "POST", "/v1/users", json={"name": "bob", "role": role})).status == 400


async def test_user_who_is_the_only_owner_stays_it(home: House) -> None:
    for method, path, body in (
        ("PATCH", "/v1/users/ada/membership", {"role": "member"}),
        ("PATCH", "/v1/users/ada/membership", {"state": "disabled"}),
        ("DELETE", "/v1/users/ada", None),
    ):
        answer = await ask(home, method, path, **({"json": body} if body else {}))
        assert (answer.status, "only owner" in answer.json["detail"]) == (409, True)
    await home.add("bob", Role.OWNER)
    assert (await ask(home, "PATCH", "/v1/users/ada/membership", json={"role": "member"})).status == 200


async def test_user_who_is_the_machines_own_account_cannot_be_changed(home: House) -> None:
    name = home.people.find_by_uid(os.getuid()).name  # type: ignore[union-attr]
    for method, path, body in (
        ("PATCH", f"/v1/users/{name}/membership", {"role": "member"}),
        ("PUT", f"/v1/users/{name}/password", {"password": OTHER}),
        ("DELETE", f"/v1/users/{name}", None),
    ):
        answer = await ask(home, method, path, **({"json": body} if body else {}))
        assert (answer.status, "own account" in answer.json["detail"]) == (403, True)


async def test_user_that_is_disabled_loses_its_logins(home: House) -> None:
    await home.add("bob")
    tokens = await home.login("bob")
    await ask(home, "PATCH", "/v1/users/bob/membership", json={"state": "disabled"})
    await ask(home, "PATCH", "/v1/users/bob/membership", json={"state": "active"})
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 401
    assert (await home.login("bob")).user == "bob"


async def test_password_that_is_changed_ends_the_other_logins(home: House) -> None:
    await home.add("bob")
    kept, other = await home.login("bob"), await home.login("bob")
    answer = await home.tcp("PUT", "/v1/users/bob/password", token=kept.access, json={"password": OTHER})
    assert answer.status == 200
    assert (await home.tcp("GET", "/v1/whoami", token=kept.access)).status == 200
    assert (await home.tcp("GET", "/v1/whoami", token=other.access)).status == 401
    await home.login("bob", OTHER)


async def test_member_changes_itself_alone(home: House) -> None:
    await home.add("bob")
    await home.add("eve")
    token = (await home.login("bob")).access
    assert [user["name"] for user in (await home.tcp("GET", "/v1/users", token=token)).json["users"]] == ["bob"]
    mine = await home.tcp("PATCH", "/v1/users/bob", token=token, json={"full_name": "Bob"})
    assert (mine.status, mine.json["full_name"]) == (200, "Bob")
    for method, path, body in (
        ("GET", "/v1/users/eve", None),
        ("PATCH", "/v1/users/eve", {"full_name": "x"}),
        ("PUT", "/v1/users/eve/password", {"password": OTHER}),
    ):
        assert (await home.tcp(method, path, token=token, json=body)).status == 404
    assert (await home.tcp("PATCH", "/v1/users/bob/membership", token=token, json={"role": "owner"})).status == 403


async def test_login_is_listed_and_ended_by_its_owner_and_by_the_organizations(home: House) -> None:
    await home.add("bob")
    await home.add("eve")
    bob, eve = await home.login("bob"), await home.login("eve")
    listed = (await home.tcp("GET", "/v1/logins", token=bob.access)).json["logins"]
    assert [(one["id"], one["current"], one["address"]) for one in listed] == [(bob.login, True, "127.0.0.1")]
    assert (await home.tcp("DELETE", f"/v1/logins/{eve.login}", token=bob.access)).status == 404
    assert (await ask(home, "DELETE", f"/v1/logins/{eve.login}")).status == 200
    assert (await home.tcp("GET", "/v1/whoami", token=eve.access)).status == 401


# Step-up


async def test_dangerous_act_takes_a_password_of_the_last_minutes(home: House) -> None:
    tokens = await home.login()
    row = home.identity.logins.find(tokens.login)
    assert row is not None
    home.identity.logins._rows._rows[row.id] = msgspec.structs.replace(row, confirmed=row.confirmed - 301)
    stale = await home.tcp("POST", "/v1/users", token=tokens.access, json={"name": "bob"})
    assert (stale.status, stale.json["code"]) == (403, "step_up")
    wrong = await home.tcp("POST", "/v1/login/confirm", token=tokens.access, json={"password": "wrong"})
    assert wrong.status == 401
    right = await home.tcp("POST", "/v1/login/confirm", token=tokens.access, json={"password": PASSWORD})
    assert right.status == 200
    assert (await home.tcp("POST", "/v1/users", token=tokens.access, json={"name": "bob"})).status == 201


async def test_keys_are_rotated_and_at_once_every_login_ends(home: House) -> None:
    tokens = await home.login()
    first = await ask(home, "POST", "/v1/daemon/keys", json={})
    assert first.json["logins_ended"] == 0
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 200
    second = await ask(home, "POST", "/v1/daemon/keys", json={"at_once": True})
    assert (second.json["logins_ended"], second.json["key"] != first.json["key"]) == (1, True)
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 401
    await home.login()


# Passwords


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 14, "x" * 129, "passwordpassword", "aaaaaaaaaaaaaaaa", "123456789012345", "qwertyuiopasdfgh",
     "abcdefghijklmnop", "password12345678", "eleagenteleagent", "Acme Acme Acme Acme", "bob-bob-bob-bob-bob",
     "iloveyouiloveyou"],
)  # fmt: skip
async def test_password_that_is_easily_guessed_is_refused(home: House, password: str) -> None:
    answer = await ask(home, "POST", "/v1/users", json={"name": "bob", "password": password})
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert password not in answer.json["detail"]


@pytest.mark.parametrize(
    "password", [OTHER, "grün ist die Donau nachts", "correct zebra battery lamp", "x7$" * 2 + "Kq9!vLm2p"]
)
async def test_password_needs_no_kinds_of_characters(home: House, password: str) -> None:
    assert (await ask(home, "POST", "/v1/users", json={"name": "bob", "password": password})).status == 201
    await home.login("bob", password)


async def test_password_hash_of_another_cost_is_made_anew_at_login(home: House) -> None:
    dearer = Passwords(cost=Cost(memory_kib=128, rounds=2, lanes=1))
    await home.people.update_user("ada", password=await dearer.hash(PASSWORD))
    await home.login()
    assert "m=64,t=1,p=1" in home.people.get("ada").password
    dearer.close()


def test_password_cost_is_what_the_documents_say() -> None:
    assert Cost() == Cost(memory_kib=65536, rounds=3, lanes=4)


async def test_passwords_beyond_what_can_be_computed_are_turned_away(home: House) -> None:
    answers = await asyncio.gather(
        *(home.identity.passwords.verify("", str(number)) for number in range(20)), return_exceptions=True
    )
    assert len([one for one in answers if one is False]) == 10
    (kind,) = {type(one).__name__ for one in answers if one is not False}
    assert kind == "Unavailable"
