"""How is a daemon reached over HTTPS? With a login's token or an API key, and over plain HTTP on loopback alone."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from eleagent.client.credentials import Credentials
from eleagent.client.remote import Web
from eleagent.errors import ConfigError, DaemonUnreachable, EleAgentError, Unavailable

CONNECT_TIMEOUT_S: Final = 10.0
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A stream may be silent for hours: so long after the network went away it is known to be gone (tcp(7))."""


class WebWay:
    def __init__(self, address: Web) -> None:
        self.host = address.host if address.port in (80, 443) else f"{address.host}:{address.port}"
        self.server = address.server
        self.tls = _context(address) if address.tls else None
        self.retry_s = 1.0
        self.worked = False
        self._address = address
        self._credentials = Credentials(address)

    def connect(self) -> socket.socket:
        """Raises DaemonUnreachable with advice."""
        try:
            sock = socket.create_connection((self._address.server, self._address.port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise self.explain(error) from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def explain(self, error: OSError) -> EleAgentError:
        at = self._address
        match error:
            case ssl.SSLCertVerificationError():
                why = error.verify_message.removesuffix(".")
                return Unavailable(
                    f"{at} is not trusted: {why}; nothing was sent. For an authority of your own: --cacert FILE, "
                    "here or with eleagent context add"
                )
            case ssl.SSLError() if error.reason == "WRONG_VERSION_NUMBER":
                return Unavailable(f"{at} does not speak TLS: is the port right?")
            case ssl.SSLError():
                return Unavailable(f"{at}: TLS failed: {error.reason or error}")
            case socket.gaierror():
                return Unavailable(f"{at}: there is no server of the name {at.server} ({error.strerror})")
            case ConnectionRefusedError():
                return DaemonUnreachable(
                    f"nothing answers at {at}: its daemon is not running, or does not listen there (setting listen)"
                )
            case TimeoutError():
                return DaemonUnreachable(f"{at} does not answer in time: a firewall, or another address?")
            case _:
                return DaemonUnreachable(f"{at} is not reached: {error.strerror or error}")

    def headers(self) -> Mapping[str, str]:
        token = self._credentials.token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def renew(self) -> bool:
        return self._credentials.renew()

    def why_lost(self) -> None:
        return None


def _context(address: Web) -> ssl.SSLContext:
    """Raises ConfigError for a file of authorities that is none."""
    if address.cacert is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=os.path.expanduser(address.cacert))  # noqa: PTH111
    except OSError as error:
        why = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"--cacert {address.cacert}: {why}") from None
