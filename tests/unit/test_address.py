"""Is each form of an address read as it is written, and nothing else taken for one?"""

from __future__ import annotations

import pytest

from eleagent.client.address import Address, UnixSocket, parse_host
from eleagent.client.remote import Ssh, Web
from eleagent.errors import ConfigError


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("unix:///run/x.sock", UnixSocket("/run/x.sock")),
        ("ssh://server", Ssh("server")),
        ("ssh://ada@server.example.net:2222/", Ssh("server.example.net", "ada", 2222)),
        ("ssh://[2001:db8::1]:22", Ssh("2001:db8::1", None, 22)),
        ("https://server", Web("server", 443)),
        ("https://server:8443/", Web("server", 8443)),
        ("https://[2001:db8::1]:8443", Web("2001:db8::1", 8443)),
        ("http://localhost:8080", Web("localhost", 8080, tls=False)),
        ("http://127.0.0.7", Web("127.0.0.7", 80, tls=False)),
        ("http://[::1]:8080", Web("::1", 8080, tls=False)),
    ],
)
def test_address_is_read_and_written(host: str, address: Address) -> None:
    assert parse_host(host) == address
    assert str(address) == host.removesuffix("/")


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("server", "write unix:///PATH"),
        ("ftp://server", "write unix:///PATH"),
        ("unix://run/x.sock", "write unix:///PATH"),
        ("ssh://", "after ://"),
        ("ssh://server/path", "after ://"),
        ("ssh://ada:secret@server", "after ://"),
        ("ssh://a b", "after ://"),
        ("ssh://server:0", "a port is from 1 to 65535"),
        ("ssh://server:99999", "a port is from 1 to 65535"),
        ("ssh://-oProxyCommand=x", "no name begins with -"),
        ("ssh://-l@server", "no name begins with -"),
        ("http://server", "plain http would show your token to the network"),
        ("http://10.0.0.1:80", "plain http would show your token to the network"),
        ("http://localhost.example.net", "plain http would show your token to the network"),
        ("https://ada@server", "who you are is not part of it"),
        ("https://server/path", "after ://"),
        ("https://server?x", "after ://"),
    ],
)
def test_what_is_no_address_is_refused_with_advice(host: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"names no daemon: ") as refused:
        parse_host(host)
    assert says in refused.value.message
