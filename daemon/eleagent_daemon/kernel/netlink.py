"""How is the kernel asked, and listened to, over netlink?"""

from __future__ import annotations

import array
import ctypes
import itertools
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from eleagent_daemon.kernel.calls import CLONE_NEWNET, enter_namespace, namespace_inode
from eleagent_daemon.kernel.child import in_child

AUDIT: Final = 9
CONNECTOR: Final = 11
HEADER: Final = struct.Struct("=IHHII")
"""linux/netlink.h, struct nlmsghdr: length, type, flags, sequence, port."""

_KTHREADD: Final = 2
"""The parent of the kernel's own threads, which never leave the first namespaces."""
_REQUEST_WITH_ACK: Final = 0x05
_ERROR: Final = 2
_ERROR_NUMBER: Final = struct.Struct("=i")
DONE: Final = 3
_sequence: Final = itertools.count(1)
_ANSWER_S: Final = 2.0
_MESSAGE_BYTES: Final = 1 << 16
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO_DROPS: Final = 8
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_HALF_WORD, _JUMP_IF_EQUAL, _RETURN = 0x28, 0x15, 0x06


async def open_sockets(protocol: int, groups: Sequence[int]) -> list[socket.socket]:
    """One socket for each value of `groups` (a bit mask, 0: none), in the host's first network namespace: the kernel
    sends audit records and process events nowhere else. Raises OSError, Unavailable.
    """
    if namespace_inode(_KTHREADD, "net") == namespace_inode(os.getpid(), "net"):
        return [_open(protocol, mask) for mask in groups]

    def job() -> tuple[None, list[int]]:
        enter_namespace(os.open(f"/proc/{_KTHREADD}/ns/net", os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWNET)
        return None, [_open(protocol, mask).detach() for mask in groups]

    _, fds = await in_child(job, type(None))
    return [socket.socket(fileno=fd) for fd in fds]


def _open(protocol: int, groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def ask(sock: socket.socket, kind: int, data: bytes = b"", *, last: int | None = None) -> list[bytes]:
    """Send one request and return the bodies that answer it, before or behind its acknowledgement, up to a message of
    the type `last`.

    The kernel answers at once, so this blocks for no time worth speaking of. Raises OSError: the kernel's own, or
    TimeoutError.
    """
    number = next(_sequence) & 0xFFFFFFFF
    sock.settimeout(_ANSWER_S)
    sock.send(HEADER.pack(HEADER.size + len(data), kind, _REQUEST_WITH_ACK, number, 0) + data)
    bodies: list[bytes] = []
    acknowledged, ended = False, last is None
    while not (acknowledged and ended):
        answer = sock.recv(_MESSAGE_BYTES)
        if HEADER.unpack_from(answer)[3] != number:
            continue
        answered, body = message(answer)
        ended = ended or answered == last
        if answered == _ERROR:
            if failure := -int(_ERROR_NUMBER.unpack_from(body)[0]):
                raise OSError(failure, os.strerror(failure))
            acknowledged = True
        elif answered != DONE:
            bodies.append(body)
    return bodies


def message(data: bytes) -> tuple[int, bytes]:
    """Type and body of a datagram: audit and the connector send one message in each, and audit tells lengths of its own
    kind.
    """
    return int(HEADER.unpack_from(data)[1]), data[HEADER.size :]


def keep_only(sock: socket.socket, kinds: Sequence[int]) -> None:
    """Let the kernel drop every message of another type before it takes room in the socket (a classic BPF filter)."""
    program = [_INSTRUCTION.pack(_LOAD_HALF_WORD, 0, 0, 4)]
    for number, kind in enumerate(kinds):
        program.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, len(kinds) - number, 0, socket.htons(kind)))
    program += [_INSTRUCTION.pack(_RETURN, 0, 0, 0), _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFFFFFF)]
    code = ctypes.create_string_buffer(b"".join(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def set_room(sock: socket.socket, size_bytes: int) -> None:
    """How much may wait to be read, above the host's own limit."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size_bytes)


def count_dropped(sock: socket.socket) -> int:
    """Messages that found no room, since the socket was opened."""
    info = array.array("I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 64))
    return info[_MEMINFO_DROPS]
