"""Which ways lead to a daemon, and how is each written?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeAlias

from eleagent.errors import ConfigError

_PORT_LIMIT: Final = 65535


class UnixSocket(NamedTuple):
    """`own`: the caller's private daemon, which a client starts where none answers."""

    path: Path
    own: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}"


class Ssh(NamedTuple):
    """The daemon that `eleagent` at the far end would find; user and port are ssh's business where none is given."""

    server: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{_bracketed(self.server)}{f':{self.port}' if self.port else ''}"


Address: TypeAlias = UnixSocket | Ssh


def parse_host(host: str) -> Address:
    """Raises ConfigError for what is neither of the two forms."""
    scheme, separator, rest = host.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return UnixSocket(Path(rest))
    if not separator or scheme != "ssh":
        _refuse(host, "write unix:///PATH or ssh://[USER@]SERVER[:PORT]")
    user, server, port = _split(host, rest.removesuffix("/"))
    return Ssh(server, user, port)


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


def _bracketed(server: str) -> str:
    return f"[{server}]" if ":" in server else server


def _refuse(host: str, advice: str) -> NoReturn:
    raise ConfigError(f"the host {host!r} names no daemon: {advice}", host=host)
