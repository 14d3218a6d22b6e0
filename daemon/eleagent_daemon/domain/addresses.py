"""Which names and addresses may the gateway ever connect to, whatever a rule says?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from eleagent.errors import BadRequest, Refused

Address = IPv4Address | IPv6Address

DENIED_V4: Final = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata"),  # Azure's wire server has a public address
        ("169.254.0.0/16", "link-local, metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
DENIED_V6: Final = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/96", "unspecified, loopback or IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/23", "protocol assignments, Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
"""IANA's special-purpose registries. `ipaddress.is_global` is not this: it lets NAT64, 6to4 and multicast through."""

GLOBAL_V6: Final = IPv6Network("2000::/3")

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def address_refusal(text: str, own: Collection[Address] = ()) -> str | None:
    """Why an answer of a resolver may not be connected to, None when it may. `own` are the host's own addresses."""
    try:
        address = ip_address(text)
    except ValueError:
        return "not an address"
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "an address with a zone"
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    if address in own:
        return "the host's own address"
    if isinstance(address, IPv4Address):
        return next((why for network, why in DENIED_V4 if address in network), None)
    denied = next((why for network, why in DENIED_V6 if address in network), None)
    return denied or (None if address in GLOBAL_V6 else "not global unicast")


def canonical_host(text: str) -> str:
    """The one spelling of a host name: lower-case ASCII (IDNA after NFKC), no trailing dot.

    Raises BadRequest for what is no name, Refused for an IP address in any spelling that a resolver would take
    (`0x7f.1`, `2130706433`, `①②⑦.0.0.1`, `[::1]`).
    """
    name = unicodedata.normalize("NFKC", text[:1024]).replace("\u3002", ".").lower()
    shown = ascii(text[:80])
    if "[" in name or ":" in name:
        raise Refused(f"{shown} is an IP address: name a host")
    try:
        name = name.encode("idna").decode("ascii").lower() if not name.isascii() else name
    except UnicodeError as error:
        raise BadRequest(f"{shown} is not a host name") from error
    name = name.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # the URL standard's rule: a name that ends in a number is an IPv4 address, well-formed or not
        raise Refused(f"{shown} is an IP address: name a host")
    if len(text) > 254 or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadRequest(f"{shown} is not a host name")
    return name
