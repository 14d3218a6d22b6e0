"""How does a step run in a process of its own, so that it may block, change who it is, or enter a namespace?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

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


async def in_child(
    job: Callable[[], tuple[T, Sequence[int]]], expected: type[T], *, keep: Iterable[int] = (), timeout_s: float = 30.0
) -> tuple[T, list[int]]:
    """Run `job` in a forked child. Its value (what msgspec writes) and the descriptors it returns are the caller's.

    The child has no descriptor but the standard ones and `keep`. An EleAgentError comes back as itself, an OSError as
    Unavailable. Raises Unavailable when the child does not answer within `timeout_s`. It dies with this process: what
    an orphan did would get in the way of the same step when it is done anew.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(job, theirs, keep, parent)
    theirs.close()
    process = os.pidfd_open(pid)
    fds: list[int] = []
    try:
        async with asyncio.timeout(timeout_s):
            data = await _read(ours, fds)
    except BaseException as error:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        close_all(fds)
        if isinstance(error, TimeoutError):
            raise Unavailable(f"a step of the launcher took more than {timeout_s:g} s") from None
        raise
    finally:
        ours.close()
        _reap(pid, process)
    if data[:1] == _OK:
        return msgspec.json.decode(data[1:], type=expected), fds
    close_all(fds)
    if data[:1] == _FAILED:
        raise msgspec.json.decode(data[1:], type=Failed).error()
    raise Unavailable("a step of the launcher died before it answered")


def _run(job: Callable[[], tuple[T, Sequence[int]]], sock: socket.socket, keep: Iterable[int], parent: int) -> None:
    """The child's whole life: it never comes back to the event loop it was forked from."""
    try:
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _close_but({0, 1, 2, sock.fileno(), *keep})
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

    sock.setblocking(False)
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
