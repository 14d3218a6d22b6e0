"""What of the ways in is set from outside: a proxy in front, keys of the service manager, a body that is slow?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from eleagent.errors import ConfigError, Conflict
from eleagent.version import VERSION_HEADER, __version__
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.identity.keyring import CREDENTIAL, Keyring

from .conftest import House


class Tcp:
    """A connection from the proxy."""

    def get_extra_info(self, name: str) -> object:
        return ("10.0.0.9", 1) if name == "peername" else None


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "address"),
    [
        (False, "192.0.2.7", "10.0.0.9"),
        (True, "192.0.2.7", "192.0.2.7"),
        (True, "203.0.113.1, 192.0.2.7", "192.0.2.7"),
        (True, "", "10.0.0.9"),
    ],
)
async def test_callers_address_is_the_last_that_the_proxy_named_where_there_is_one(
    home: House, behind_proxy: bool, forwarded: str, address: str
) -> None:
    identity = home.identity
    door = Door(
        people=identity.people, peers=Peers(people=identity.people), logins=identity.logins, tokens=identity.tokens,
        keys=identity.keys, projects=identity.project_rows, addresses=identity.addresses, behind_proxy=behind_proxy,
    )  # fmt: skip
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = make_mocked_request("POST", "/v1/login", headers=headers, transport=Tcp())
    assert (await door.visitor(request)).address == address


async def test_body_that_does_not_arrive_is_not_waited_for(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eleagent_daemon.api.pipeline.BODY_S", 0.2)
    host, _, port = home.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/login HTTP/1.1\r\nHost: {host}\r\n{VERSION_HEADER}: {__version__}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
    assert await asyncio.wait_for(reader.readuntil(b"did not arrive within 0.2 s"), 5)
    writer.close()
    await writer.wait_closed()


def test_keys_of_the_service_manager_go_before_the_files_and_are_not_ours_to_replace(tmp_path: Path) -> None:
    ours = Keyring.open(tmp_path / "ours")
    given = Keyring.open(tmp_path / CREDENTIAL)
    taken = Keyring.provided(tmp_path)
    assert taken is not None
    assert taken.signing == given.signing != ours.signing
    assert Keyring.provided(None) is None is Keyring.provided(tmp_path / "none")
    with pytest.raises(Conflict, match="service manager"):
        taken.rotate(at_once=True)
    (tmp_path / "ours").chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by others"):
        Keyring.open(tmp_path / "ours")
