"""Does the daemon know a caller by the kernel's word, and refuse everyone it does not know?"""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from eleagent.errors import Refused
from eleagent.permissions import Role
from eleagent.version import VERSION_HEADER, __version__
from eleagent_daemon.api import peers
from eleagent_daemon.api.identity import account, identify
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE

from .conftest import Api

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
        (1000, "nobody here yet"),
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
    assert (await api.request("GET", "/v1/status")).json == {"caller": account(os.getuid())}
    assert seen[0].role is Role.OWNER


@asynccontextmanager
async def on_tcp() -> AsyncIterator[str]:
    async def serve(request: web.Request) -> web.Response:
        try:
            identify(request)
        except Refused as err:
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


async def test_identity_knows_nobody_on_tcp() -> None:
    async with on_tcp() as url, aiohttp.ClientSession() as http, http.get(url) as response:
        assert (response.status, await response.text()) == (403, "only callers on the Unix socket are known")


def test_account_without_a_name_is_its_number() -> None:
    assert account(3_999_999_999) == "uid-3999999999"
