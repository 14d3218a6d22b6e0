"""How does the far end of an ssh connection join it to the daemon of this account?"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import Final

import click

from eleagent.client.address import way_to
from eleagent.client.locate import find_local

_PIECE_BYTES: Final = 1 << 16


@click.command("dial-stdio", hidden=True)
def dial_stdio() -> None:
    """Join stdin and stdout to the socket of this account's daemon. What `--host ssh://…` runs at the far end."""
    way = way_to(find_local(uid=os.getuid()), say=lambda line: print(line, file=sys.stderr))  # noqa: T201  # to the near end
    with way.connect() as daemon:
        daemon.settimeout(None)
        join(0, 1, daemon)


def join(read_fd: int, write_fd: int, daemon: socket.socket) -> None:
    """Carry bytes both ways until the daemon is done, or whoever reads its answers is gone."""
    poll = select.poll()
    poll.register(daemon, select.POLLIN)
    poll.register(read_fd, select.POLLIN)
    poll.register(write_fd, 0)  # POLLERR and POLLHUP: nobody reads any more
    while True:
        for fd, _ in poll.poll():
            if fd == daemon.fileno():
                if not (piece := daemon.recv(_PIECE_BYTES)):
                    return
                _write(write_fd, piece)
            elif fd == read_fd:
                if not _send(daemon, os.read(read_fd, _PIECE_BYTES)):
                    poll.unregister(read_fd)
            else:
                return


def _send(daemon: socket.socket, piece: bytes) -> bool:
    """Whether more may follow: a daemon that refuses early closes the way up, and its answer is still to be read."""
    try:
        daemon.sendall(piece)
        if not piece:
            daemon.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return bool(piece)


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
