"""How does one message with its file descriptors cross the socket between daemon and launcher?"""

from __future__ import annotations

import array
import os
import socket
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from eleagent.errors import TooLarge
from eleagent_daemon.domain.launch import MESSAGE_LIMIT_BYTES

FDS_LIMIT: Final = 253
"""SCM_MAX_FD of the kernel: the most descriptors that one message carries."""

_RIGHTS_BYTES: Final = socket.CMSG_SPACE(FDS_LIMIT * array.array("i").itemsize)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def receive(sock: socket.socket, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> tuple[bytes, list[int]]:
    """One message and the descriptors beside it, which are close-on-exec and the caller's to close.

    Empty bytes are the end. Raises BlockingIOError where there is none yet, ConnectionError for a message cut short.
    """
    data, ancillary, flags, _ = sock.recvmsg(limit_bytes + 1, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, rights in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
    if len(data) > limit_bytes or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)
        raise ConnectionAbortedError("a message is larger than the protocol allows")
    return data, list(fds)


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Raises BlockingIOError while the socket is full, OSError when the other end is gone."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


class Channel:
    """A connected SOCK_SEQPACKET socket on an event loop.

    `on_message` gets each message with its descriptors, which are its to close; `on_closed` is called once, when the
    other end is gone; `on_drained` whenever all that was sent has left.
    """

    def __init__(
        self,
        *,
        sock: socket.socket,
        loop: AbstractEventLoop,
        on_message: Callable[[bytes, list[int]], None],
        on_closed: Callable[[], None],
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_drained = on_drained
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._closed = False
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def busy(self) -> bool:
        """Messages wait for the other end to read."""
        return bool(self._waiting)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Queue a message; the descriptors stay the caller's. Dropped when closed. Raises TooLarge."""
        if len(data) > MESSAGE_LIMIT_BYTES or len(fds) > FDS_LIMIT:
            raise TooLarge(
                f"a message of {len(data)} bytes with {len(fds)} descriptors is more than the launcher takes"
            )
        if self._closed:
            return
        if not self._waiting:
            self._loop.add_writer(self._sock, self._writable)
        self._waiting.append((data, [os.dup(fd) for fd in fds]))
        self._writable()

    def close(self) -> None:
        """Idempotent; does not call `on_closed`."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        while self._waiting:
            close_all(self._waiting.popleft()[1])

    def _writable(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                send(self._sock, data, fds)
            except BlockingIOError:
                return
            except OSError:
                self._loop.call_soon(self._lost)
                return
            self._waiting.popleft()
            close_all(fds)
        self._loop.remove_writer(self._sock)
        self._on_drained()

    def _readable(self) -> None:
        try:
            data, fds = receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if data:
            self._on_message(data, fds)
        else:
            self._lost()

    def _lost(self) -> None:
        if not self._closed:
            self.close()
            self._on_closed()
