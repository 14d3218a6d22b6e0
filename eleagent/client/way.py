"""How is the daemon reached: what carries the bytes, and what is said about who sends them?

A `Way` is what both transports stand on: one class a kind of address, each in a module of its own that is imported when
it is taken.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from eleagent.errors import EleAgentError

if TYPE_CHECKING:
    import ssl


class Way(Protocol):
    """`host` is what the daemon goes by there, `tls` what to wrap a connection in, to be met by the name `server`;
    `retry_s` is the pause before a broken one is made again. `worked` is set by who got an answer.
    """

    host: str
    server: str
    tls: ssl.SSLContext | None
    retry_s: float
    worked: bool

    def connect(self) -> socket.socket:
        """A connected socket. Raises DaemonUnreachable with advice, or what else is in the way."""

    def explain(self, error: OSError) -> EleAgentError:
        """What a connection that could not be made, or wrapped in TLS, means, and what to do about it."""

    def headers(self) -> Mapping[str, str]:
        """What says who is calling. Raises Unauthenticated where that has to be said and can't be."""

    def renew(self) -> bool:
        """After a refusal of who is calling: whether the next `headers` are worth another try."""

    def why_lost(self) -> EleAgentError | None:
        """After a connection of ours ended without an answer: what was to blame, where the way itself knows."""
