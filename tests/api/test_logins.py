"""Does a password make somebody known, for as long as it should and not a request longer?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import msgspec
import pytest

from eleagent.permissions import Role
from eleagent.version import VERSION_HEADER, __version__
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.api.tcp import TcpSite
from eleagent_daemon.identity import throttle
from eleagent_daemon.identity.logins import LOGINS_EACH
from eleagent_daemon.network import bind_tcp
from eleagent_daemon.store.people import User, UserState

from .conftest import PASSWORD, House


async def whoami(home: House, token: str) -> Any:
    answer = await home.tcp("GET", "/v1/whoami", token=token)
    return answer.json if answer.status == 200 else (answer.status, answer.json["fields"].get("reason"))


async def test_login_makes_one_known_over_tcp(home: House) -> None:
    tokens = await home.login()
    found = await whoami(home, tokens.access)
    assert (found["user"], found["role"], found["via"]) == ("ada", "owner", "login")
    assert (found["organization"], found["credential"]) == ("Acme", tokens.login)
    assert found["permissions"]["session:stop"] == "any"
    intent, outcome = home.api.records()
    assert (intent["action"], intent["phase"], intent["actor"]) == ("login.create", "intent", "tcp 127.0.0.1")
    assert (outcome["outcome"], outcome["details"]) == ("done", {"user": "ada", "login": tokens.login})
    said = home.api.recorded()
    for secret in (PASSWORD, tokens.access, tokens.refresh):
        assert secret.encode() not in said


async def test_login_goes_before_the_socket_peer(home: House) -> None:
    await home.people.create_user(
        User(name="bob", role=Role.MEMBER, password=await home.identity.passwords.hash(PASSWORD))
    )
    tokens = await home.login("bob")
    answer = await home.api.request("GET", "/v1/whoami", headers={"Authorization": f"Bearer {tokens.access}"})
    assert (answer.json["user"], answer.json["role"]) == ("bob", "member")


@pytest.mark.parametrize(
    ("user", "password"),
    [("ada", "wrong"), ("nobody", PASSWORD), ("nobody", "wrong"), ("ada", ""), ("", ""), ("off", PASSWORD),
     ("gone", PASSWORD), ("bare", ""), ("bare", PASSWORD)],
)  # fmt: skip
async def test_login_that_fails_tells_nothing_and_costs_the_same(home: House, user: str, password: str) -> None:
    hashed = await home.identity.passwords.hash(PASSWORD)
    for name, state in (("off", UserState.DISABLED), ("gone", UserState.REMOVED)):
        await home.people.create_user(User(name=name, role=Role.MEMBER, password=hashed, state=state))
    await home.people.create_user(User(name="bare", role=Role.MEMBER))
    before = home.identity.passwords.verified
    answer = await home.tcp("POST", "/v1/login", json={"user": user, "password": password})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (answer.json["code"], answer.json["detail"]) == ("unauthenticated", "user or password is wrong")
    assert home.identity.passwords.verified == before + 1, "argon2id was computed once, whoever it was"
    _, outcome = home.api.records()
    assert (outcome["decision"], outcome["outcome"]) == ("refused", "unauthenticated")


async def test_login_records_no_text_that_is_no_users_name(home: House) -> None:
    await home.tcp("POST", "/v1/login", json={"user": PASSWORD, "password": "ada"})
    assert PASSWORD.encode() not in home.api.recorded()
    assert home.api.records()[-1]["details"]["user"] == "nobody's name"


# Access and refresh


async def test_refresh_gives_the_next_pair_and_is_good_once(home: House) -> None:
    first = await home.login()
    answer = await home.tcp("POST", "/v1/login/refresh", json={"refresh": first.refresh})
    assert answer.status == 200
    assert answer.json["login"] == first.login
    assert answer.json["refresh"] != first.refresh
    assert (await whoami(home, answer.json["access"]))["user"] == "ada"


async def test_refresh_that_was_used_ends_the_login(home: House) -> None:
    first = await home.login()
    second = (await home.tcp("POST", "/v1/login/refresh", json={"refresh": first.refresh})).json
    stolen = await home.tcp("POST", "/v1/login/refresh", json={"refresh": first.refresh})
    assert (stolen.status, stolen.json["fields"]["reason"]) == (401, "reused")
    for token in (first.access, second["access"]):
        assert await whoami(home, token) == (401, "ended")
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": second["refresh"]})).status == 401
    assert "reused" in [record["details"].get("why") for record in home.api.records()]


async def test_refresh_of_a_flood_of_one_token_succeeds_once(home: House) -> None:
    first = await home.login()
    flood = (home.tcp("POST", "/v1/login/refresh", json={"refresh": first.refresh}) for _ in range(8))
    assert sorted(answer.status for answer in await asyncio.gather(*flood)) == [200] + [401] * 7


@pytest.mark.parametrize("change", ["cut", "one letter", "another login", "access", "empty", "key"])
async def test_refresh_of_another_text_is_refused_and_ends_nothing(home: House, change: str) -> None:
    tokens, other = await home.login(), await home.login()
    given = tokens.refresh
    text = {
        "cut": given[:-1],
        "one letter": given[:20] + ("A" if given[20] != "A" else "B") + given[21:],
        "another login": given[:4] + other.login + given[16:],
        "access": tokens.access,
        "empty": "",
        "key": "eak" + given[3:],
    }[change]
    answer = await home.tcp("POST", "/v1/login/refresh", json={"refresh": text})
    assert (answer.status, answer.json["fields"]["reason"]) == (401, "invalid")
    assert (await whoami(home, tokens.access))["user"] == "ada"
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": given})).status == 200


@pytest.mark.parametrize(("ahead", "alive"), [(1700, True), (1900, False)])
async def test_login_ends_when_it_is_idle(home: House, ahead: float, alive: bool) -> None:
    tokens = await home.login()
    home.clock.ahead = ahead
    assert ((await home.tcp("POST", "/v1/login/refresh", json={"refresh": tokens.refresh})).status == 200) == alive


async def test_login_ends_whatever_it_does_after_its_whole_life(home: House) -> None:
    refresh = (await home.login()).refresh
    for home.clock.ahead in range(1700, 43200, 1700):
        answer = await home.tcp("POST", "/v1/login/refresh", json={"refresh": refresh})
        assert answer.status == 200
        refresh = answer.json["refresh"]
    home.clock.ahead = 43201
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": refresh})).status == 401


async def test_login_more_than_ten_end_the_oldest(home: House) -> None:
    tokens = [await home.login() for _ in range(LOGINS_EACH + 1)]
    assert await whoami(home, tokens[0].access) == (401, "ended")
    assert all([(await whoami(home, one.access))["user"] == "ada" for one in tokens[1:]])


# Ends that act at once


async def test_logout_acts_on_the_next_request(home: House) -> None:
    tokens = await home.login()
    answer = await home.tcp("POST", "/v1/logout", token=tokens.access)
    assert answer.json == {"id": tokens.login}
    assert await whoami(home, tokens.access) == (401, "ended")
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": tokens.refresh})).status == 401


async def test_role_is_read_at_each_request(home: House) -> None:
    await home.people.create_user(
        User(name="bob", role=Role.ADMIN, password=await home.identity.passwords.hash(PASSWORD))
    )
    tokens = await home.login("bob")
    assert (await whoami(home, tokens.access))["role"] == "admin"
    await home.people.update_user("bob", role=Role.MEMBER)
    assert (await whoami(home, tokens.access))["role"] == "member"
    await home.people.update_user("bob", state=UserState.DISABLED)
    assert await whoami(home, tokens.access) == (401, "ended")
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": tokens.refresh})).status == 401


async def silent(_: Call) -> Stream:
    async def give() -> AsyncGenerator[bytes, None]:
        yield b"{}\n"
        await asyncio.Event().wait()

    return Stream(give())


@pytest.mark.parametrize("end", ["logout", "disabled", "demoted", "idle"])
async def test_live_stream_ends_with_its_login(home: House, end: str) -> None:
    await home.people.create_user(
        User(name="bob", role=Role.ADMIN, password=await home.identity.passwords.hash(PASSWORD))
    )
    tokens = await home.login("bob")
    home.api.handlers.answers["image_build"] = silent
    sent = {VERSION_HEADER: __version__, "Authorization": f"Bearer {tokens.access}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{home.url}/v1/images", json={"agent": "x"}, headers=sent) as response,
    ):
        assert await response.content.readline() == b"{}\n"
        match end:
            case "logout":
                await home.tcp("POST", "/v1/logout", token=tokens.access)
            case "disabled":
                await home.people.update_user("bob", state=UserState.DISABLED)
            case "demoted":
                await home.people.update_user("bob", role=Role.MEMBER)
            case "idle":
                home.clock.ahead = 1900
        last = await asyncio.wait_for(response.content.readline(), 5)
        assert msgspec.json.decode(last)["notice"] == "error"
        assert await response.content.read() == b""


# Guessing


async def test_guessing_one_account_is_slowed_down_whoever_it_is(home: House) -> None:
    for name in ("ada", "nobody"):
        answers = [
            await home.tcp("POST", "/v1/login", json={"user": name, "password": "x"})
            for _ in range(throttle.FREE_FAILURES + 2)
        ]
        assert [answer.status for answer in answers] == [401] * (throttle.FREE_FAILURES + 1) + [429]
        assert answers[-1].headers["Retry-After"] == "1"
    assert (await home.tcp("POST", "/v1/login", json={"user": "ada", "password": PASSWORD})).status == 429
    home.clock.ahead = 2
    await home.login()
    for _ in range(throttle.FREE_FAILURES):
        assert (await home.tcp("POST", "/v1/login", json={"user": "ada", "password": "x"})).status == 401


async def test_guessing_in_parallel_computes_no_more(home: House) -> None:
    before = home.identity.passwords.verified
    flood = (home.tcp("POST", "/v1/login", json={"user": "ada", "password": str(number)}) for number in range(100))
    assert {answer.status for answer in await asyncio.gather(*flood)} <= {401, 429}
    assert home.identity.passwords.verified - before <= throttle.FREE_FAILURES + 1
    assert (await home.api.request("GET", "/v1/whoami")).json["role"] == "owner", "the owner enters by the socket"


async def test_guessing_stops_after_a_hundred_in_a_row_and_an_owner_lets_it_again(home: House) -> None:
    account = throttle.Accounts(attempts=home.identity.attempts, clock=home.clock)
    for number in range(throttle.LOCKED_AT):
        home.clock.ahead = number * 1000
        await account.begin("x")
    home.clock.ahead = 10**9
    with pytest.raises(throttle.Throttled, match="--unlock"):
        await account.begin("x")
    await account.succeeded("x")
    await account.begin("x")


async def test_guessing_from_one_address_is_slowed_down(home: House) -> None:
    statuses = [
        (await home.tcp("POST", "/v1/login", json={"user": f"user-{number}", "password": "x"})).status
        for number in range(throttle.BURST + 3)
    ]
    assert statuses == [401] * throttle.BURST + [429] * 3
    home.clock.ahead = 60
    await home.login()


async def test_guessing_tokens_is_slowed_down(home: House) -> None:
    tokens = await home.login()
    flood = (home.tcp("GET", "/v1/whoami", token=f"x{number}") for number in range(throttle.BURST + 3))
    statuses = sorted(answer.status for answer in await asyncio.gather(*flood))
    assert statuses == [401] * throttle.BURST + [429] * 3
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 429
    home.clock.ahead = 60
    assert (await whoami(home, tokens.access))["user"] == "ada"


def test_addresses_of_one_network_share_a_bucket() -> None:
    addresses = throttle.Addresses(clock=lambda: 0.0)
    for number in range(throttle.BURST):
        addresses.take(f"2001:db8::{number:x}")
    with pytest.raises(throttle.Throttled):
        addresses.take("2001:db8::ffff")
    addresses.take("2001:db8:0:1::1")
    addresses.take("192.0.2.1")


# TCP


async def test_tcp_without_a_token_is_nobody(home: House) -> None:
    answer = await home.tcp("GET", "/v1/status")
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "bearer  x", "Token x"])
async def test_tcp_takes_one_bearer_token_alone(home: House, header: str) -> None:
    assert (await home.tcp("GET", "/v1/status", headers={"Authorization": header})).status == 401


async def test_tcp_is_shut_until_somebody_is_owner(home: House) -> None:
    home.people.organization = msgspec.structs.replace(home.people.organization, initialized=None)
    for method, path in (("GET", "/v1/status"), ("POST", "/v1/login"), ("GET", "/nothing")):
        answer = await home.tcp(method, path, json={"user": "ada", "password": PASSWORD})
        assert (answer.status, answer.json["code"]) == (503, "not_initialized")
    assert (await home.api.request("GET", "/v1/whoami")).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "localhost@evil.example", "[::2]", "",
     "127.0.0.1:80:80", "127.0.0.1 evil", "0.0.0.0", "eleagent"],
)  # fmt: skip
async def test_tcp_refuses_a_foreign_host(home: House, host: str) -> None:
    tokens = await home.login()
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access, headers={"Host": host})).status in (400, 403)


@pytest.mark.parametrize("origin", ["http://127.0.0.1", "null", "https://evil.example"])
async def test_tcp_refuses_a_web_page(home: House, origin: str) -> None:
    tokens = await home.login()
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access, headers={"Origin": origin})).status == 403


@pytest.mark.parametrize("query", ["access_token", "token", "key"])
async def test_tcp_takes_no_token_in_the_address(home: House, query: str) -> None:
    tokens = await home.login()
    assert (await home.tcp("GET", f"/v1/whoami?{query}={tokens.access}")).status == 401


async def test_tcp_hangs_up_on_more_connections_than_it_holds(home: House) -> None:
    listener = bind_tcp("127.0.0.1:0")
    site = TcpSite(home.runner, listener, tls=None, connections=3)
    await site.start()
    port = listener.getsockname()[1]
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    for _, one in idle:
        one.close()
        await one.wait_closed()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()
    await site.close()
