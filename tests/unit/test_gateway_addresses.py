"""Does any spelling of an address or a name get past the tables?"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import BadRequest, Refused
from eleagent_daemon.domain.addresses import DENIED_V4, address_refusal, canonical_host


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.17.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2001:0:4136:e378::1", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1"),
        *("fe80::1%eth0", "2606:4700::1%1", "fec0::1", "ff02::1", "100::1", "5f00::1", "4000::1", "not an address"),
    ],
)
def test_address_that_is_not_global_is_refused(address: str) -> None:
    assert address_refusal(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "160.79.104.10", "2606:4700::6810:1", "::ffff:93.184.216.34"])
def test_global_address_is_acceptable_unless_it_is_the_hosts_own(address: str) -> None:
    own = {IPv4Address("93.184.216.34"), IPv4Address("160.79.104.10"), IPv6Address("2606:4700::6810:1")}

    assert address_refusal(address) is None
    assert address_refusal(address, own) == "the host's own address"


@given(st.integers(0, 2**32 - 1))
def test_mapped_address_is_judged_by_its_inner_one(number: int) -> None:
    inner = IPv4Address(number)

    assert address_refusal(f"::ffff:{inner}") == address_refusal(str(inner))
    assert bool(address_refusal(str(inner))) == any(inner in network for network, _ in DENIED_V4)


@pytest.mark.parametrize(
    "spelling",
    [
        *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "127.0.0.1."),
        *("①②⑦.0.0.1", "１２７.0.0.1", "127。0。0。1", "0X7F.0.0.1", "1.2.3", "256.256.256.256", "0x", "example.0x7f"),
        *("[::1]", "::1", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "2606:4700::1"),
    ],
)
def test_host_that_is_an_address_in_any_spelling_is_refused(spelling: str) -> None:
    with pytest.raises(Refused):
        canonical_host(spelling)


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a.b..",
        "-a.org",
        "a-.org",
        "a_b.org",
        "a b.org",
        "a.org\x00",
        "a.org/x",
        "a@b.org",
        "*.org",
        "a" * 64,
        "a." * 127 + "org",
    ],
)
def test_host_that_is_no_name_is_a_bad_request(spelling: str) -> None:
    with pytest.raises(BadRequest):
        canonical_host(spelling)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("API.Anthropic.com", "api.anthropic.com"),
        ("api.anthropic.com.", "api.anthropic.com"),
        ("ａｐｉ.anthropic.com", "api.anthropic.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a。example", "a.example"),
        ("localhost", "localhost"),
    ],
)
def test_host_has_one_canonical_spelling(spelling: str, canonical: str) -> None:
    assert canonical_host(spelling) == canonical
    assert canonical_host(canonical) == canonical


@given(st.text(max_size=40))
def test_canonical_host_is_idempotent_and_plain(text: str) -> None:
    try:
        host = canonical_host(text)
    except (BadRequest, Refused):
        return

    assert host == canonical_host(host)
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
