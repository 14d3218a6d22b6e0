"""Which ways lead to a daemon? What leads to another machine is read in `remote`, which few commands need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from eleagent.client.remote import Ssh, Web


class UnixSocket(NamedTuple):
    """`own`: the caller's private daemon, which a client starts where none answers."""

    path: Path
    own: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}"


Address: TypeAlias = "UnixSocket | Ssh | Web"


def parse_host(host: str, *, cacert: str | None = None) -> Address:
    """Raises ConfigError for what names no daemon."""
    if host.startswith("unix:///"):
        return UnixSocket(Path(host.removeprefix("unix://")))
    from eleagent.client.remote import parse_remote

    return parse_remote(host, cacert=cacert)
