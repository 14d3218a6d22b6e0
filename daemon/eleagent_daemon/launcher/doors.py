"""How do listeners get onto a sandbox's own loopback?"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eleagent.errors import IsolationFailed, NotFound
from eleagent_daemon.domain.sandbox import UNPRIVILEGED_PORT_START
from eleagent_daemon.kernel.calls import CLONE_NEWNET, CLONE_NEWUSER, enter_namespace
from eleagent_daemon.kernel.child import in_child

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 16
_SIOCGSKNS: Final = 0x894C
"""linux/sockios.h: a descriptor of the network namespace that a socket was made in."""
_NS_GET_USERNS: Final = 0xB701
"""linux/nsfs.h: a descriptor of the user namespace that owns a namespace."""
_PORT_START: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def port_start(pid: int, network_inode: int) -> int:
    """`net.ipv4.ip_unprivileged_port_start` as the network namespace of `pid` has it; the caller, a child, stays there.

    Raises NotFound when the process has ended, IsolationFailed where the namespace is another one.
    """
    _enter(pid, network_inode)
    return int(_PORT_START.read_text())


def listen(ports: Mapping[str, int]) -> list[int]:
    """Descriptors of listeners on 127.0.0.1 of the network namespace that the caller, a child, has entered.

    Raises IsolationFailed where something else listens there.
    """
    return [_listen(name, port) for name, port in ports.items()]


async def bind(pid: int, network_inode: int, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    """Listeners on 127.0.0.1 in the network namespace of `pid`, which must be `network_inode`.

    Raises IsolationFailed where the namespace is another one, a port could be taken from inside, or is in use.
    """

    def job() -> tuple[int, list[int]]:
        start = port_start(pid, network_inode)
        if start != UNPRIVILEGED_PORT_START:
            raise IsolationFailed(
                f"ports below {start} are reserved in the sandbox, {UNPRIVILEGED_PORT_START} was asked for"
            )
        return start, listen(ports)

    _, fds = await in_child(job, int)
    return {name: socket.socket(fileno=fd) for name, fd in zip(ports, fds, strict=True)}


def check(name: str, sock: socket.socket, port: int, network_inode: int) -> None:
    """Raises IsolationFailed unless `sock` is the listener of this door in that network namespace."""
    stream = sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
    if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise IsolationFailed(f"what was handed back as door {name} is no listening TCP socket")
    if sock.getsockname() != (LOOPBACK, port) or sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        raise IsolationFailed(
            f"what was handed back as door {name} listens at {sock.getsockname()}, not at {LOOPBACK}:{port}"
        )
    namespace = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    try:
        inode = os.fstat(namespace).st_ino
    finally:
        os.close(namespace)
    if inode != network_inode:
        raise IsolationFailed(f"door {name} lies in network namespace {inode}, the attested one is {network_inode}")


def _enter(pid: int, network_inode: int) -> None:
    """The namespace file is opened once and compared, so that a pid that was reused can't slip in."""
    try:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            inode = os.fstat(namespace.fileno()).st_ino
            if inode != network_inode:
                raise IsolationFailed(
                    f"process {pid} is in network namespace {inode}, the attested one is {network_inode}"
                )
            if os.geteuid() != 0:
                _become_owner(namespace.fileno())
            enter_namespace(namespace.fileno(), CLONE_NEWNET)
    except FileNotFoundError:
        raise NotFound(f"process {pid} of the sandbox has ended") from None


def _become_owner(namespace: int) -> None:
    """Who is not root enters the user namespace that owns the network one, which he made, and has its rights there."""
    owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
    try:
        enter_namespace(owner, CLONE_NEWUSER)
    finally:
        os.close(owner)


def _listen(name: str, port: int) -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections of an earlier listener that linger in TIME_WAIT would keep the port; one that listens still does.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
        sock.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise IsolationFailed(f"something else listens at door {name}, {LOOPBACK}:{port} of the sandbox") from None
        raise
    return sock.detach()
