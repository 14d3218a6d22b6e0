"""How does a one-shot command reach the daemon with the standard library alone?

HTTP/1.1 as far as the daemon speaks it, one request a connection. `http.client` would do the same, but its imports (a
mail parser, TLS) would cost a command a fifth of the 100 ms that it may take.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from eleagent.client.exchange import Request, StreamBroken, check_answer, is_wrong_password
from eleagent.errors import Unauthenticated
from eleagent.version import VERSION_HEADER

if TYPE_CHECKING:
    from eleagent.client.way import Way

ANSWER_TIMEOUT_S: Final = 120.0
READ_BYTES: Final = 1 << 16
LINE_LIMIT_BYTES: Final = 1 << 16


class Answer:
    """An answer whose head was read and whose body is still to come. Raises StreamBroken when it ends too early."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._opened = ExitStack()
        with _broken():
            protocol, status, *_ = self._line().split(b" ", 2)
            if not protocol.startswith(b"HTTP/1.") or not status.isdigit():
                raise StreamBroken("what answers there is not an EleAgent daemon")
            self.status = int(status)
            self.headers: dict[str, str] = {}
            while line := self._line():
                name, _, value = line.decode("latin-1").partition(":")
                self.headers[name.lower()] = value.strip()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def own(self, opened: ExitStack) -> Self:
        """Close what is in `opened` at the end."""
        self._opened = opened
        return self

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives, up to its proper end."""
        with _broken():
            if self.headers.get("transfer-encoding") != "chunked":
                yield from self._take(int(self.headers.get("content-length", 0)))
                return
            while size := int(self._line().partition(b";")[0], 16):
                yield from self._take(size)
                self._line()

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def lines(self) -> Iterator[bytes]:
        """Whole lines up to the proper end of the answer."""
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        if rest:
            raise StreamBroken("the daemon's answer broke off in the middle of a line")

    def _line(self) -> bytes:
        line = self._file.readline(LINE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            raise StreamBroken("the daemon's answer broke off")
        return line.rstrip(b"\r\n")

    def _take(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._file.read1(min(size, READ_BYTES))
            if not piece:
                raise StreamBroken("the daemon's answer broke off")
            size -= len(piece)
            yield piece


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise StreamBroken(f"the connection to the daemon broke: {error}") from error


def send(
    way: Way, request: Request, *, upload: BinaryIO | None = None, wait_s: float | None = ANSWER_TIMEOUT_S
) -> Answer:
    """Send `request` (with `upload` as its body, Content-Length given) and wait for the head of the answer.

    `wait_s` bounds each wait for bytes; None waits for ever. Raises DaemonUnreachable where nobody listens, and what a
    problem stands for. Who is not known any more and can say anew who is calling is asked a second time; a wrong
    password is not given a second time.
    """
    try:
        return _send(way, request, upload, wait_s)
    except Unauthenticated as error:
        if request.anonymous or is_wrong_password(error) or not way.renew():
            raise
    if upload:
        upload.seek(0)
    return _send(way, request, upload, wait_s)


def _send(way: Way, request: Request, upload: BinaryIO | None, wait_s: float | None) -> Answer:
    with ExitStack() as opened:
        head = _head(way, request)
        sock = opened.enter_context(_open(way))
        sock.settimeout(wait_s)
        with _broken(), suppress(BrokenPipeError, ConnectionResetError):  # an early refusal closes the way up
            sock.sendall(head + (request.content or b""))
            if upload:
                sock.sendfile(upload)
        try:
            answer = Answer(opened.enter_context(sock.makefile("rb")))
        except StreamBroken as error:
            if why := way.why_lost():
                raise why from error
            raise
        way.worked = True
        content = answer.read() if answer.status >= 400 else None
        check_answer(answer.status, answer.headers.get(VERSION_HEADER.lower()), content)
        return answer.own(opened.pop_all())


def _open(way: Way) -> socket.socket:
    sock = way.connect()
    if way.tls is None:
        return sock
    try:
        return way.tls.wrap_socket(sock, server_hostname=way.server)
    except OSError as error:
        sock.close()
        raise way.explain(error) from error


def _head(way: Way, request: Request) -> bytes:
    headers = {
        "Host": way.host,
        "Connection": "close",
        **({} if request.anonymous else way.headers()),
        **request.headers,
    }
    if request.content is not None:
        headers["Content-Length"] = str(len(request.content))
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
