"""Which ways lead to a daemon? What leads to another machine is read in `remote`, which few commands need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from eleagent.client.remote import Ssh, Web
    from eleagent.client.way import Way


class UnixSocket(NamedTuple):
    """`own`: the caller's private daemon, which a client starts where none answers."""

    path: str
    own: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}"


Say = Callable[[str], None]
"""Takes one line for the person about what is done on the way (a daemon was started)."""

Address: TypeAlias = "UnixSocket | Ssh | Web"


def parse_host(host: str, *, cacert: str | None = None) -> Address:
    """Raises ConfigError for what names no daemon."""
    if host.startswith("unix:///"):
        return UnixSocket(host.removeprefix("unix://"))
    from eleagent.client.remote import parse_remote

    return parse_remote(host, cacert=cacert)


def way_to(address: Address, *, say: Say | None = None, start: bool = True) -> Way:
    """The way there. Where the caller's own daemon does not run it is started, unless `start` says no."""
    if isinstance(address, UnixSocket):
        from eleagent.client.local import LocalWay

        return LocalWay(address, say=say, start=start)
    from eleagent.client.remote import Ssh

    if isinstance(address, Ssh):
        from eleagent.client.ssh import SshWay

        return SshWay(address)
    from eleagent.client.web import WebWay

    return WebWay(address)
