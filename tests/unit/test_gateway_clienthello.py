"""Is the name in a ClientHello read rightly, and is nothing else taken for one?"""

from __future__ import annotations

import ssl
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent_daemon.gateway.clienthello import HELLO_LIMIT_BYTES, ClientHello, NotAClientHello, read_client_hello


def real_hello(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def sni(*names: bytes, kind: int = 0) -> bytes:
    return b"\0\0" + vector(2, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def hello(*extensions: bytes, trailer: bytes = b"") -> bytes:
    inner = b"\3\3" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    return b"\1" + vector(3, inner + vector(2, b"".join(extensions)) + trailer)


def record(handshake: bytes) -> bytes:
    return b"\x16\3\1" + vector(2, handshake)


def test_name_in_a_real_hello_is_read_at_the_last_byte_and_not_before() -> None:
    data = real_hello("api.Anthropic.com")

    assert read_client_hello(data) == ClientHello(server_name="api.anthropic.com", encrypted=False)
    assert read_client_hello(data + b"early data") == ClientHello(server_name="api.anthropic.com", encrypted=False)
    assert all(read_client_hello(data[:length]) is None for length in range(len(data)))


def test_hello_without_a_name_names_nobody() -> None:
    assert read_client_hello(real_hello(None)) == ClientHello(server_name="", encrypted=False)


@given(st.lists(st.integers(0, len(hello(sni(b"a.example")))), max_size=5))
def test_hello_cut_into_records_is_read_the_same(points: list[int]) -> None:
    whole = hello(sni(b"a.example"))
    bounds = sorted({0, *points, len(whole)})
    data = b"".join(record(whole[begin:end]) for begin, end in pairwise(bounds))

    assert read_client_hello(data) == ClientHello(server_name="a.example", encrypted=False)


def test_encrypted_hello_is_told() -> None:
    found = read_client_hello(record(hello(sni(b"a.example"), b"\xfe\x0d" + vector(2, b"xx"))))

    assert found == ClientHello(server_name="a.example", encrypted=True)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\2",
        b"\x15\3\1\0\2\1\0",
        b"\x16\3\1\0\0",
        b"\x16\3\1\xff\xff",
        record(b"\2" + vector(3, b"x")),
        record(hello(sni(b"a"), sni(b"b"))),
        record(hello(sni(b"a", b"b"))),
        record(hello(sni(b"a", kind=1))),
        record(hello(sni(b"\xff"))),
        record(hello(b"\0\0" + vector(2, b""))),
        record(hello(b"\0\0" + vector(2, b"\0\5a"))),
        record(hello(sni(b"a"), trailer=b"x")),
        record(hello(b"\0")),
        record(b"\1" + vector(3, b"short")),
    ],
)
def test_anything_else_is_no_hello(data: bytes) -> None:
    with pytest.raises(NotAClientHello):
        read_client_hello(data)


def test_hello_larger_than_the_limit_is_refused() -> None:
    endless = record(b"\1" + (1 << 20).to_bytes(3, "big")) + record(bytes(1 << 12)) * 5

    assert read_client_hello(endless[: HELLO_LIMIT_BYTES - 1]) is None
    with pytest.raises(NotAClientHello):
        read_client_hello(endless[:HELLO_LIMIT_BYTES])


@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_judged(noise: bytes) -> None:
    for data in (noise, record(noise) if noise else b"", record(b"\1" + vector(3, noise))):
        try:
            read_client_hello(data)
        except NotAClientHello:
            continue
