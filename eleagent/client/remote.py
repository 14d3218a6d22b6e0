"""Which ways lead to a daemon of another machine, and how is each written?"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn

from eleagent.errors import ConfigError

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80
_PORT_LIMIT: Final = 65535


class Ssh(NamedTuple):
    """The daemon that `eleagent` at the far end would find; user and port are ssh's business where none is given."""

    server: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{_bracketed(self.server)}{f':{self.port}' if self.port else ''}"


class Web(NamedTuple):
    """`cacert`: a file with the only authorities that are trusted, instead of this machine's."""

    server: str
    port: int
    tls: bool = True
    cacert: str | None = None

    def __str__(self) -> str:
        scheme, usual = ("https", HTTPS_PORT) if self.tls else ("http", HTTP_PORT)
        return f"{scheme}://{self.host}" if self.port == usual else f"{scheme}://{self.host}:{self.port}"

    @property
    def host(self) -> str:
        return _bracketed(self.server)


def parse_remote(host: str, *, cacert: str | None = None) -> Ssh | Web:
    """Raises ConfigError for what has no form of an address, and for plain HTTP to another machine."""
    scheme, separator, rest = host.partition("://")
    if not separator or scheme not in ("ssh", "https", "http"):
        _refuse(host, "write unix:///PATH, ssh://[USER@]SERVER[:PORT] or https://SERVER[:PORT]")
    user, server, port = _split(host, rest.removesuffix("/"))
    if scheme == "ssh":
        return Ssh(server, user, port)
    if user:
        _refuse(host, "who you are is not part of it: log in with eleagent login, or set ELEAGENT_API_KEY")
    if scheme == "http" and not _is_loopback(server):
        _refuse(host, "plain http would show your token to the network: write https://")
    tls = scheme == "https"
    return Web(server, port or (HTTPS_PORT if tls else HTTP_PORT), tls, cacert)


def _split(host: str, rest: str) -> tuple[str | None, str, int | None]:
    """User, server and port. What ssh would take for an option is no name."""
    found = re.fullmatch(r"(?:([^@/:]+)@)?(?:\[([0-9A-Fa-f:.%]+)\]|([^@/:\[\]?#\s]+))(?::(\d{1,5}))?", rest)
    if found is None:
        _refuse(host, "after :// comes [USER@]SERVER[:PORT] and no more")
    user, server, port = found[1], found[2] or found[3], int(found[4]) if found[4] else None
    if server.startswith("-") or (user or "").startswith("-"):
        _refuse(host, "no name begins with -")
    if port is not None and not 0 < port <= _PORT_LIMIT:
        _refuse(host, f"a port is from 1 to {_PORT_LIMIT}")
    return user, server, port


def _is_loopback(server: str) -> bool:
    if server == "localhost":
        return True
    import ipaddress

    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return False


def _bracketed(server: str) -> str:
    return f"[{server}]" if ":" in server else server


def _refuse(host: str, advice: str) -> NoReturn:
    raise ConfigError(f"the host {host!r} names no daemon: {advice}", host=host)
