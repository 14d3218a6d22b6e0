"""What does a CONNECT ask for? A strict reader of the tunnel door's one kind of request (RFC 9110 9.3.6, RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from eleagent.errors import BadRequest, Refused
from eleagent_daemon.domain.addresses import canonical_host
from eleagent_daemon.gateway.denial import Denied

HEAD_LIMIT_BYTES: Final = 16 * 1024
HEAD_S: Final = 10.0

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


async def read_head(reader: asyncio.StreamReader) -> bytes | None:
    """The request's head without its empty line, None when the peer left without a word. Raises Denied."""
    try:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError as error:
        raise _malformed(f"no whole request head within {HEAD_S:.0f} s") from error
    except asyncio.LimitOverrunError as error:
        raise _malformed("the request head is larger than 16 KiB") from error
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise _malformed("the request head is not whole") from error
    if len(head) > HEAD_LIMIT_BYTES:
        raise _malformed("the request head is larger than 16 KiB")
    return head[:-4]


def parse_connect(head: bytes) -> tuple[str, int]:
    """Canonical host and port. Raises Denied: 400 for what is no proper request, 403 for what this door does not do."""
    request_line, *lines = head.split(b"\r\n")
    parts = request_line.split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not re.fullmatch(rb"[A-Z]{1,20}", parts[0]):
        raise _malformed("the request line is not METHOD TARGET HTTP/1.1")
    if parts[0] != b"CONNECT":
        raise Denied("method", f"EleAgent: this door takes CONNECT alone, not {parts[0].decode()}")
    hosts = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _malformed("a header line is malformed (bare CR or LF, folding, or a bad name)")
        name = match[1].lower()
        if name in (b"content-length", b"transfer-encoding"):
            raise _malformed(f"CONNECT has no body: {name.decode()} is refused")
        if name == b"host":
            hosts.append(match[2].strip())
    target = _authority(parts[1])
    if len(hosts) > 1:
        raise _malformed("there are two Host headers")
    if hosts and _host_header(hosts[0], target[1]) != target:
        raise _malformed("the Host header is not the CONNECT target")
    return target


def _authority(raw: bytes) -> tuple[str, int]:
    host, colon, port = raw.decode("utf-8", "replace").rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise _malformed(f"the target {ascii(raw[:80])[1:]} is not HOST:PORT")
    try:
        return canonical_host(host), int(port)
    except Refused as error:
        raise Denied("address", f"EleAgent: {error.message}") from error
    except BadRequest as error:
        raise _malformed(error.message) from error


def _host_header(raw: bytes, default_port: int) -> tuple[str, int]:
    """Clients leave the port out or not."""
    return _authority(raw if re.search(rb":[0-9]+$", raw) else b"%s:%d" % (raw, default_port))


def _malformed(what: str) -> Denied:
    return Denied("malformed", f"EleAgent: {what}", http_status=400)
