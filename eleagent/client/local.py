"""How is a daemon of this machine reached? The kernel tells it who is calling."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from eleagent.client.address import Say, UnixSocket
from eleagent.errors import DaemonUnreachable

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S: Final = 5.0
_ABSENT: Final = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)


class LocalWay:
    def __init__(self, address: UnixSocket, *, say: Say | None = None, start: bool = True) -> None:
        self.host = self.server = "localhost"
        self.tls: ssl.SSLContext | None = None
        self.retry_s = 0.25
        self.worked = False
        self._address = address
        self._say = say
        self._start = start and address.own

    def connect(self) -> socket.socket:
        """Raises DaemonUnreachable with advice, ConfigError where a setting keeps the caller's own from starting."""
        try:
            return self._connect()
        except OSError as error:
            if not (self._start and isinstance(error, _ABSENT)):
                raise self.explain(error) from error
        from eleagent.client.private import start_own

        for line in start_own():
            if self._say:
                self._say(line)
        try:
            return self._connect()
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> DaemonUnreachable:
        from eleagent.client.advice import refused_way

        return refused_way(self._address, error)

    def headers(self) -> Mapping[str, str]:
        return {}

    def renew(self) -> bool:
        return False

    def why_lost(self) -> None:
        return None

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_TIMEOUT_S)
            sock.connect(self._address.path)
            if self._address.own:
                self._check_owner(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _check_owner(self, sock: socket.socket) -> None:
        """One's own daemon runs as oneself: another's may have been waiting at that path for what we say."""
        size = struct.calcsize("iII")
        _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if os.getuid() not in (0, uid):
            raise DaemonUnreachable(
                f"what answers at {self._address.path} is not yours but uid {uid}'s: "
                "set ELEAGENT_HOME to a folder of your own",
                socket=self._address.path,
            )
