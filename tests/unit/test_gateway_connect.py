"""Which request heads does the tunnel door understand?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent_daemon.gateway.connect import HEAD_LIMIT_BYTES, parse_connect, read_head
from eleagent_daemon.gateway.denial import Denied


def head(*lines: bytes, target: bytes = b"a.example:443") -> bytes:
    return b"\r\n".join([b"CONNECT " + target + b" HTTP/1.1", *lines])


@pytest.mark.parametrize(
    "text",
    [
        head(),
        head(b"Host: a.example:443", b"User-Agent: x", b"Proxy-Connection: keep-alive"),
        head(b"Host: A.example"),
        head(b"host:a.example. ", target=b"A.EXAMPLE.:443"),
    ],
)
def test_connect_is_read(text: bytes) -> None:
    assert parse_connect(text) == ("a.example", 443)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"CONNECT a.example:443",
        b"CONNECT  a.example:443 HTTP/1.1",
        b"CONNECT a.example:443 HTTP/2",
        b"connect a.example:443 HTTP/1.1",
        b" CONNECT a.example:443 HTTP/1.1",
        head(target=b"a.example"),
        head(target=b"a.example:"),
        head(target=b"a.example:0"),
        head(target=b"a.example:65536"),
        head(target=b"a.example:0443"),
        head(target=b"a.example:+443"),
        head(target="a.example:４４３".encode()),
        head(target=b"a_b.example:443"),
        head(target=b"a.example\x00:443"),
        head(target=b"\xff:443"),
        head(b"Host: a.example", b"Host: a.example"),
        head(b"Host: b.example"),
        head(b"Host: a.example:444"),
        head(b"Host:"),
        head(b"Content-Length: 0"),
        head(b"Transfer-Encoding: chunked"),
        head(b"X: a\rHost: b"),
        head(b"X: a\nHost: b"),
        head(b"X: a\x00"),
        head(b"X: a", b" folded"),
        head(b"X: a", b"\tfolded"),
        head(b"X : a"),
        head(b": a"),
        head(b"no colon"),
        head(b""),
    ],
)
def test_malformed_head_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(Denied) as caught:
        parse_connect(text)
    assert (caught.value.http_status, caught.value.rule) == (400, "malformed")


@pytest.mark.parametrize("method", [b"GET http://a.example/", b"POST /v1/messages", b"OPTIONS *"])
def test_other_method_is_refused(method: bytes) -> None:
    with pytest.raises(Denied) as caught:
        parse_connect(method + b" HTTP/1.1")
    assert (caught.value.http_status, caught.value.rule) == (403, "method")


@pytest.mark.parametrize("target", [b"127.0.0.1:443", b"0x7f.1:443", b"2130706433:80", b"[::1]:443", b"::1:443"])
def test_target_that_is_an_address_is_refused(target: bytes) -> None:
    with pytest.raises(Denied) as caught:
        parse_connect(head(target=target))
    assert (caught.value.http_status, caught.value.rule) == (403, "address")


@given(st.binary(max_size=200))
def test_head_of_any_bytes_is_judged(noise: bytes) -> None:
    for text in (noise, head(noise), head(target=noise)):
        try:
            host, port = parse_connect(text)
        except Denied:
            continue
        assert host
        assert 0 < port < 65536


async def read(data: bytes) -> bytes | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_head(reader)


async def test_head_is_read_up_to_its_empty_line() -> None:
    assert await read(b"CONNECT x HTTP/1.1\r\nA: b\r\n\r\n\x16\3") == b"CONNECT x HTTP/1.1\r\nA: b"
    assert await read(b"") is None


@pytest.mark.parametrize("data", [b"CONNECT x", b"X" * (HEAD_LIMIT_BYTES + 1) + b"\r\n\r\n", b"X" * 300_000])
async def test_head_that_is_not_whole_or_too_large_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(Denied) as caught:
        await read(data)
    assert caught.value.http_status == 400
