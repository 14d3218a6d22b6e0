"""How does a step run in a process of its own, so that it may block, change who it is, or enter a namespace?"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import msgspec

from eleagent.errors import EleAgentError, Unavailable
from eleagent_daemon.domain.channel import FDS_LIMIT, close_all
from eleagent_daemon.domain.launch import Failed
from eleagent_daemon.kernel.calls import die_with_parent

log = logging.getLogger(__name__)

T = TypeVar("T")

_OK: Final = b"+"
_FAILED: Final = b"-"
_READ_BYTES: Final = 1 << 16
_LENGTH: Final = struct.Struct("=I")

READY_S: Final = 3.0
"""How long a child stands ready after the last step: it holds memory, and most steps follow on another."""

Job = Callable[[], tuple[T, Sequence[int]]]


@dataclass(frozen=True)
class _Child:
    pid: int
    process: int
    sock: socket.socket


async def in_child(
    job: Job[T], expected: type[T], *, keep: Iterable[int] = (), timeout_s: float = 30.0
) -> tuple[T, list[int]]:
    """Run `job` in a forked child. Its value (what msgspec writes) and the descriptors it returns are the caller's.

    The child has no descriptor but the standard ones and `keep`. An EleAgentError comes back as itself, an OSError as
    Unavailable. Raises Unavailable when the child does not answer within `timeout_s`. It dies with this process: what
    an orphan did would get in the way of the same step when it is done anew.
    """
    return await _answer(_fork(lambda sock: _run(job, sock), keep), expected, timeout_s)


def without_descriptors(job: Callable[[], T]) -> tuple[T, list[int]]:
    """A step that has nothing but its value to give."""
    return job(), []


class Children:
    """`run` does as `in_child`, by a child that was forked before: that takes longer than most steps do, and can be
    done while another one works. It dies with its parent.
    """

    def __init__(self) -> None:
        self._ready: _Child | None = None
        self._dismissal: asyncio.TimerHandle | None = None

    async def run(
        self, job: Job[T], expected: type[T], *, keep: Sequence[int] = (), timeout_s: float = 30.0
    ) -> tuple[T, list[int]]:
        """`job` is made of what pickle can write; nothing but us writes to the child. Descriptors that are kept have
        the numbers there that they have here.
        """
        told = pickle.dumps((job, list(keep)))
        child, self._ready = self._ready or _fork(_wait), None
        try:
            await _tell(child, told, keep)
        except ConnectionError:  # somebody killed it while it waited
            _dismiss(child)
            return await in_child(job, expected, keep=keep, timeout_s=timeout_s)
        except BaseException:
            _dismiss(child)
            raise
        self._stand_ready()
        return await _answer(child, expected, timeout_s)

    def close(self) -> None:
        """Whoever works is not disturbed."""
        if self._dismissal is not None:
            self._dismissal.cancel()
        if self._ready is not None:
            _dismiss(self._ready)
            self._ready = None

    def _stand_ready(self) -> None:
        if self._dismissal is not None:
            self._dismissal.cancel()
        self._dismissal = asyncio.get_running_loop().call_later(READY_S, self.close)
        self._ready = self._ready or _fork(_wait)


def _fork(work: Callable[[socket.socket], NoReturn], keep: Iterable[int] = ()) -> _Child:
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            _close_but({0, 1, 2, theirs.fileno(), *keep})
            work(theirs)
        finally:
            os._exit(0)  # whatever breaks: it never comes back to the event loop it was forked from
    theirs.close()
    ours.setblocking(False)
    return _Child(pid, os.pidfd_open(pid), ours)


async def _tell(child: _Child, told: bytes, keep: Sequence[int]) -> None:
    socket.send_fds(child.sock, [_LENGTH.pack(len(told))], list(keep))
    await asyncio.get_running_loop().sock_sendall(child.sock, told)


def _wait(sock: socket.socket) -> NoReturn:
    """Until there is something to do, or nobody who could say what."""
    head, fds, _, _ = socket.recv_fds(sock, _LENGTH.size, FDS_LIMIT, socket.MSG_WAITALL | socket.MSG_CMSG_CLOEXEC)
    if len(head) < _LENGTH.size:
        os._exit(0)
    size, told = _LENGTH.unpack(head)[0], bytearray()
    while len(told) < size:
        if not (piece := sock.recv(size - len(told))):
            os._exit(0)
        told += piece
    job, numbers = pickle.loads(told)  # noqa: S301 - from our own parent, over a socket that nobody else has
    _run(job, _renumber(sock, fds, numbers))


def _renumber(sock: socket.socket, fds: Sequence[int], numbers: Sequence[int]) -> socket.socket:
    """Give each of `fds` its number; the socket goes where it is in nobody's way."""
    above = max((sock.fileno(), *fds, *numbers)) + 1
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for fd in (sock.detach(), *fds)]
    for fd, number in zip(high[1:], numbers, strict=True):
        os.dup2(fd, number, inheritable=False)
    _close_but({0, 1, 2, high[0], *numbers})
    return socket.socket(fileno=high[0])


def _dismiss(child: _Child) -> None:
    signal.pidfd_send_signal(child.process, signal.SIGKILL)
    child.sock.close()
    _reap(child.pid, child.process)


async def _answer(child: _Child, expected: type[T], timeout_s: float) -> tuple[T, list[int]]:
    fds: list[int] = []
    try:
        async with asyncio.timeout(timeout_s):
            data = await _read(child.sock, fds)
    except BaseException as error:
        signal.pidfd_send_signal(child.process, signal.SIGKILL)
        close_all(fds)
        if isinstance(error, TimeoutError):
            raise Unavailable(f"a step of the launcher took more than {timeout_s:g} s") from None
        raise
    finally:
        child.sock.close()
        _reap(child.pid, child.process)
    if data[:1] == _OK:
        return msgspec.json.decode(data[1:], type=expected), fds
    close_all(fds)
    if data[:1] == _FAILED:
        raise msgspec.json.decode(data[1:], type=Failed).error()
    raise Unavailable("a step of the launcher died before it answered")


def _run(job: Job[T], sock: socket.socket) -> NoReturn:
    """Do it, answer, and end."""
    try:
        fds: Sequence[int] = ()
        try:
            value, fds = job()
            data = _OK + msgspec.json.encode(value)
        except EleAgentError as error:
            data = _FAILED + msgspec.json.encode(Failed.of(error))
        except OSError as error:
            data = _FAILED + msgspec.json.encode(Failed.of(Unavailable(f"a step of the launcher failed{_told(error)}")))
        socket.send_fds(sock, [data[:1]], list(fds))
        sock.sendall(data[1:])
        sock.close()  # the answer is whole: nobody need wait until this process is taken apart
    except BaseException:
        log.exception("a step of the launcher broke")
    finally:
        os._exit(0)


def _told(error: OSError) -> str:
    """Why, and at which path: a call that was given a descriptor names that."""
    name = error.filename
    if isinstance(name, int):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/self/fd/{name}").readlink()
    where = "" if name is None else f" at {os.fsdecode(name) if isinstance(name, bytes) else name}"
    return f"{where}: {error.strerror or error}"


def _close_but(kept: set[int]) -> None:
    low = 0
    for fd in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        if low < fd:  # closerange(0, 0) of Python 3.11 closes everything
            os.closerange(low, fd)
        low = fd + 1


async def _read(sock: socket.socket, fds: list[int]) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    ended = loop.create_future()

    def readable() -> None:
        piece, received, _, _ = socket.recv_fds(sock, _READ_BYTES, FDS_LIMIT, socket.MSG_CMSG_CLOEXEC)
        data.extend(piece)
        fds.extend(received)
        if not piece and not ended.done():
            ended.set_result(None)

    loop.add_reader(sock, readable)
    try:
        await ended
    finally:
        loop.remove_reader(sock)
    return bytes(data)


def _reap(pid: int, process: int) -> None:
    """Collect the child whenever it is gone; one that hangs in the kernel holds nobody up."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(process)
        os.close(process)
        os.waitpid(pid, 0)

    loop.add_reader(process, gone)
