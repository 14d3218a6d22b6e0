"""Does the daemon know a caller by the kernel's word, and refuse everyone it does not know?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from eleagent.errors import ConfigError, Conflict, Unauthenticated
from eleagent.permissions import Role
from eleagent.version import VERSION_HEADER, __version__
from eleagent_daemon.account import GroupRule, account_name, group_rule
from eleagent_daemon.api import peers
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.api.unix import UnixSite
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.listen import bind_socket
from eleagent_daemon.store.people import People, User, UserState

from .conftest import Api, House, serving

REQUEST = f"GET /v1/status HTTP/1.0\r\nHost: eleagent\r\n{VERSION_HEADER}: {__version__}\r\n\r\n".encode()
as_root = pytest.mark.skipif(os.getuid() != 0, reason="takes on other users")


async def ask_as(api: Api, uid: int, gid: int, groups: list[int]) -> bytes:
    """What a process of that user is answered."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child takes no lock that a thread may hold
        child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(api.socket))
                connection.sendall(REQUEST)
                while block := connection.recv(65536):
                    os.write(writing, block)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = await asyncio.to_thread(answer.read)
    os.waitpid(child, 0)
    return said


def whoami(seen: list[object]) -> object:
    async def status(call: Call) -> dict[str, str]:
        seen.append(call.caller)
        return {"caller": call.caller.name}

    return status


@as_root
@pytest.mark.parametrize(
    ("uid", "told"),
    [
        (POOL_FIRST_UID, "a sandbox's"),
        (POOL_FIRST_UID + POOL_SIZE - 1, "a sandbox's"),
        (65534, "another user namespace"),
        (1000, "eleagent user add"),
        (POOL_FIRST_UID - 1, "nobody here yet"),
        (4_000_000_000, "nobody here yet"),
    ],
)
async def test_identity_refuses_strangers(api: Api, uid: int, told: str) -> None:
    seen: list[object] = []
    api.handlers.answers["status"] = whoami(seen)
    head, _, body = (await ask_as(api, uid, uid % 65536, [])).partition(b"\r\n\r\n")
    assert b" 403 " in head.splitlines()[0]
    assert told in msgspec.json.decode(body)["detail"]
    assert seen == []
    (record,) = api.records()
    assert (record["action"], record["actor"], record["object"]) == ("caller.refused", f"uid-{uid}", "system.status")


@as_root
async def test_identity_takes_uid_and_groups_from_the_kernel(api: Api) -> None:
    seen: list[object] = []
    api.handlers.answers["status"] = whoami(seen)
    answer = await ask_as(api, 0, 7, [7, 1234])
    assert b" 200 " in answer.splitlines()[0]
    (caller,) = seen
    assert (caller.name, caller.role) == ("root", Role.OWNER)
    assert (caller.identity.uid, caller.identity.gid, set(caller.identity.groups)) == (0, 7, {7, 1234})


@as_root
async def test_identity_refuses_more_groups_than_can_be_taken_on(api: Api) -> None:
    head, _, body = (await ask_as(api, 0, 0, list(range(5000, 5257)))).partition(b"\r\n\r\n")
    assert b" 403 " in head
    assert "more than 256 groups" in msgspec.json.decode(body)["detail"]


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(sys.argv[2].encode())
    while block := connection.recv(65536):
        sys.stdout.buffer.write(block)
"""


@pytest.mark.parametrize("pinned", [True, False], ids=["pidfd-of-the-peer", "number-of-the-peer"])
@pytest.mark.parametrize(
    ("inside", "told"),
    [
        (["unshare", "--user"], "another user namespace"),
        (["unshare", "--user", "--map-root-user"], "another user namespace"),
        (["unshare", "--user", "--map-root-user", "--pid", "--fork"], "another user namespace"),
        (["unshare", "--pid", "--fork"], "another pid namespace"),
    ],
    ids=["user", "root-of-a-user", "user-and-pid", "pid"],
)
async def test_identity_refuses_the_own_account_from_other_namespaces(
    api: Api, inside: list[str], told: str, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--user" not in inside and os.getuid():
        pytest.skip("root alone makes a pid namespace without a user namespace")
    if not pinned:
        monkeypatch.setattr(peers, "_SO_PEERPIDFD", 9999)  # as on a kernel that does not know it
    seen: list[object] = []
    api.handlers.answers["status"] = whoami(seen)
    words = [*inside, "/usr/bin/python3", "-I", "-c", ASK, str(api.socket), REQUEST.decode()]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    head, _, body = (await process.communicate())[0].partition(b"\r\n\r\n")
    assert b" 403 " in head.splitlines()[0]
    assert told in msgspec.json.decode(body)["detail"]
    assert seen == []


async def test_identity_own_account_is_the_owner(api: Api) -> None:
    seen: list[object] = []
    api.handlers.answers["status"] = whoami(seen)
    assert (await api.request("GET", "/v1/status")).json == {"caller": account_name(os.getuid())}
    assert seen[0].role is Role.OWNER


@asynccontextmanager
async def on_tcp(people: People) -> AsyncIterator[str]:
    keeper = Peers(people=people)

    async def serve(request: web.Request) -> web.Response:
        try:
            await keeper.identify(request)
        except Unauthenticated as err:
            return web.Response(status=err.status, text=err.message)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_identity_knows_nobody_on_tcp_without_a_token(people: People) -> None:
    async with on_tcp(people) as url, aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 401
        assert "eleagent login" in await response.text()


# Users of this machine


@as_root
async def test_identity_takes_a_mapped_account_for_its_user(people: People) -> None:
    await people.create_user(User(name="ada", role=Role.MEMBER, unix_uid=4001, unix_user="ada"))
    async with serving(Peers(people=people)) as api:
        seen: list[Any] = []
        api.handlers.answers["status"] = whoami(seen)
        assert b" 200 " in (await ask_as(api, 4001, 4001, [])).splitlines()[0]
        (caller,) = seen
        assert (caller.name, caller.role, caller.user_id) == ("ada", Role.MEMBER, people.get("ada").id)
        assert caller.identity.uid == 4001


@as_root
@pytest.mark.parametrize("state", [UserState.DISABLED, UserState.REMOVED])
async def test_identity_refuses_a_user_who_is_out_at_the_next_request(people: People, state: UserState) -> None:
    await people.create_user(User(name="ada", role=Role.MEMBER, unix_uid=4001, unix_user="ada"))
    async with serving(Peers(people=people)) as api:
        api.handlers.answers["status"] = whoami([])
        assert b" 200 " in (await ask_as(api, 4001, 4001, [])).splitlines()[0]
        await people.update_user("ada", state=state)
        assert b" 403 " in (await ask_as(api, 4001, 4001, [])).splitlines()[0]


@as_root
async def test_identity_lets_the_group_in_and_out_again(people: People) -> None:
    async with serving(Peers(people=people, group=GroupRule(name="eng", gid=4100, role=Role.MEMBER))) as api:
        seen: list[Any] = []
        api.handlers.answers["status"] = whoami(seen)
        outside = await ask_as(api, 4002, 4002, [])
        assert b" 403 " in outside
        assert b"usermod -aG eng uid-4002" in outside
        assert people.find("uid-4002") is None
        for gid, groups in ((4002, [7, 4100]), (4100, [])):
            assert b" 200 " in (await ask_as(api, 4002, gid, groups)).splitlines()[0]
        assert [(one.name, one.role) for one in seen] == [("uid-4002", Role.MEMBER)] * 2
        assert b"is not in group eng any more" in await ask_as(api, 4002, 4002, [7])


@as_root
async def test_identity_first_contact_takes_nobodys_name(people: People) -> None:
    await people.create_user(User(name="uid-4003", role=Role.ADMIN))
    async with serving(Peers(people=people, group=GroupRule(name="eng", gid=4100, role=Role.MEMBER))) as api:
        answer = await ask_as(api, 4003, 4003, [4100])
        assert b"named 'uid-4003' already" in answer
        assert people.get("uid-4003").unix_uid is None


@as_root
async def test_identity_owner_can_always_enter_by_the_socket(people: People) -> None:
    keeper = Peers(people=people)
    await keeper.admit_system()
    await people.update_user("root", role=Role.MEMBER, state=UserState.DISABLED)
    async with serving(keeper) as api:
        seen: list[Any] = []
        api.handlers.answers["status"] = whoami(seen)
        assert b" 200 " in (await ask_as(api, 0, 0, [])).splitlines()[0]
        assert seen[0].role is Role.OWNER


async def test_identity_system_accounts_become_users_once(people: People) -> None:
    keeper = Peers(people=people)
    await keeper.admit_system()
    before = people.list_users()
    await keeper.admit_system()
    assert people.list_users() == before
    assert {user.unix_uid for user in before} == {0, os.getuid()}
    with pytest.raises(Conflict, match="named 'root' already"):
        await people.create_user(User(name="root", role=Role.MEMBER))


def test_identity_group_that_is_not_there_stops_the_start() -> None:
    assert group_rule("", "member") is None
    with pytest.raises(ConfigError, match=r"unix\.group: there is no group 'no-such-group'"):
        group_rule("no-such-group", "member")


def test_account_without_a_name_is_its_number() -> None:
    assert account_name(3_999_999_999) == "uid-3999999999"


@as_root
async def test_socket_hangs_up_on_one_user_who_holds_too_many_connections_and_on_nobody_else(home: House) -> None:
    path = home.api.socket.with_name("crowded.sock")
    listener = await asyncio.to_thread(bind_socket, path, everybody=True)
    site = UnixSite(home.runner, listener, connections_each=3)
    await site.start()

    opened: list[asyncio.StreamWriter] = []

    def connected(uid: int) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        os.seteuid(uid)  # in effect at connect(2)
        try:
            sock.connect(str(path))
        finally:
            os.seteuid(0)
        return sock

    async def connect_as(uid: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = await asyncio.to_thread(connected, uid)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        opened.append(writer)
        return reader, writer

    async def is_served(one: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
        one[1].write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(OSError):
            return bool(await one[0].readline())
        return False

    held = [await connect_as(1234) for _ in range(3)]
    assert [await is_served(one) for one in held] == [True, True, True]
    assert not await is_served(await connect_as(1234))
    assert await is_served(await connect_as(1235))
    assert [await is_served(await connect_as(0)) for _ in range(5)] == [True] * 5
    held[0][1].close()
    await held[0][1].wait_closed()
    await asyncio.sleep(0.05)
    assert await is_served(await connect_as(1234))
    for one in opened:
        one.close()
        with contextlib.suppress(OSError):
            await one.wait_closed()
    await site.close()
