"""How does a one-shot command reach the daemon with the standard library alone?

`http.client` over the Unix socket costs a command a quarter of what an asynchronous client would.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from eleagent.client.exchange import HOST, Request, StreamBroken, check_answer, unreachable
from eleagent.version import VERSION_HEADER

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 120.0
READ_BYTES: Final = 1 << 16


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket. Raises DaemonUnreachable where nobody listens."""

    def __init__(self, path: Path) -> None:
        super().__init__(HOST)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            self.sock.close()
            raise unreachable(self._path, error) from error


class Answer:
    """An answer whose body is still to be read. Raises StreamBroken when it ends too early."""

    def __init__(self, connection: UnixConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()

    def read(self, size: int | None = None) -> bytes:
        with _broken():
            return self._response.read(size)

    def lines(self) -> Iterator[bytes]:
        """Whole lines up to the proper end of the answer."""
        rest = b""
        while True:
            with _broken():
                piece = self._response.read1(READ_BYTES)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        if rest:
            raise StreamBroken("the daemon's answer broke off in the middle of a line")


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise StreamBroken(f"the connection to the daemon broke: {error}") from error


def send(
    path: Path, request: Request, *, upload: BinaryIO | None = None, wait_s: float | None = ANSWER_TIMEOUT_S
) -> Answer:
    """Send `request` (with `upload` as its body, Content-Length given) and wait for the head of the answer.

    `wait_s` bounds each wait for bytes; None waits for ever.
    """
    connection = UnixConnection(path)
    try:
        connection.connect()
        connection.sock.settimeout(wait_s)
        with _broken():
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # an early refusal closes the way up, its answer counts
                body = upload or request.content
                connection.request(request.method, request.target, body=body, headers=request.headers)
            response = connection.getresponse()
            content = response.read() if response.status >= 400 else None
        check_answer(response.status, response.headers.get(VERSION_HEADER), content)
    except BaseException:
        connection.close()
        raise
    return Answer(connection, response)
