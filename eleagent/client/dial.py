"""How is a connection to the daemon made, whichever way leads there?"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from eleagent.client.advice import refused_way
from eleagent.client.locate import Address, UnixSocket
from eleagent.errors import DaemonUnreachable

CONNECT_TIMEOUT_S: Final = 5.0

Say = Callable[[str], None]
"""Takes one line for the person about what is done on the way (a daemon was started)."""


def dial(address: Address, *, say: Say | None = None, start: bool = True) -> socket.socket:
    """A connected socket that speaks the API. Where the caller's own daemon does not run it is started, unless `start`
    says no. Raises DaemonUnreachable with advice, ConfigError.
    """
    try:
        return _connect(address)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        if not (address.own and start):
            raise refused_way(address, error) from error
    except OSError as error:
        raise refused_way(address, error) from error
    from eleagent.client.private import start_own

    for line in start_own():
        if say:
            say(line)
    try:
        return _connect(address)
    except OSError as error:
        raise refused_way(address, error) from error


def _connect(address: UnixSocket) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_TIMEOUT_S)
        sock.connect(str(address.path))
        if address.own:
            _check_owner(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_owner(sock: socket.socket, address: UnixSocket) -> None:
    """One's own daemon runs as oneself: another's may have been waiting at that path for what we say."""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")))
    if os.getuid() not in (0, uid):
        raise DaemonUnreachable(
            f"what answers at {address.path} is not yours but uid {uid}'s: set ELEAGENT_HOME to a folder of your own",
            socket=str(address.path),
        )
