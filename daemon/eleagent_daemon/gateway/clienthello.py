"""Whom does a TLS client say it wants? Reads the first ClientHello of a connection (RFC 8446 4.1.2, RFC 6066 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eleagent.errors import BadRequest

HELLO_LIMIT_BYTES: Final = 16 * 1024

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RECORD_LIMIT: Final = 1 << 14
_SERVER_NAME: Final = 0
_ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D


class NotAClientHello(BadRequest):
    """The bytes are no TLS ClientHello, and no more of them will make them one."""


@dataclass(frozen=True)
class ClientHello:
    """`server_name` is lower-case, empty when there is none; `encrypted` says that another name may be hidden (ECH)."""

    server_name: str
    encrypted: bool


def read_client_hello(data: bytes) -> ClientHello | None:
    """None while `data` is not yet the whole of it. Raises NotAClientHello."""
    handshake = bytearray()
    at = 0
    while at < len(data):
        head = data[at : at + 5]
        if head[0] != _HANDSHAKE or (len(head) > 1 and head[1] != 3):
            raise NotAClientHello("it is not TLS")
        if len(head) < 5:
            break
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= _RECORD_LIMIT:
            raise NotAClientHello("a TLS record has a bad length")
        handshake += data[at + 5 : at + 5 + length]
        at += 5 + length
        if handshake[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise NotAClientHello("the first TLS message is not a ClientHello")
        if len(handshake) >= 4 and len(handshake) >= (end := 4 + int.from_bytes(handshake[1:4], "big")):
            return _parse(_Reader(bytes(handshake[4:end])))
    if len(data) >= HELLO_LIMIT_BYTES:
        raise NotAClientHello("the ClientHello is larger than 16 KiB")
    return None


def _parse(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    extensions: dict[int, _Reader] = {}
    listed = _Reader(hello.vector(2) if hello.left else b"")
    while listed.left:
        kind = listed.number(2)
        if kind in extensions:
            raise NotAClientHello("an extension is there twice")
        extensions[kind] = _Reader(listed.vector(2))
    name = ""
    if (server_name := extensions.get(_SERVER_NAME)) is not None:
        names = _Reader(server_name.vector(2))
        kind, raw = names.number(1), names.vector(2)
        if kind != 0 or names.left or server_name.left or not raw.isascii():
            raise NotAClientHello("the server name is not one host name")
        name = raw.decode("ascii").lower()
    if hello.left:
        raise NotAClientHello("there is something after the extensions")
    return ClientHello(server_name=name, encrypted=_ENCRYPTED_CLIENT_HELLO in extensions)


class _Reader:
    """Takes bytes off the front; raises NotAClientHello when there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NotAClientHello("the ClientHello is cut short inside")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))
