"""Which kinds of sockets can a process in the sandbox make?"""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

from registry import Given, attempt, findings, probe, together
from syscalls import call

UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40
STREAM, DATAGRAM, RAW, SOCK_PACKET = 1, 2, 3, 10
HIGH_BIT = 1 << 32
NO_SUCH = "EPERM EACCES EAFNOSUPPORT ESOCKTNOSUPPORT EPROTONOSUPPORT EINVAL"
REFUSED = "EPERM EACCES EAFNOSUPPORT"
NETLINK_FAMILIES = {
    "sock_diag": 4, "xfrm": 6, "selinux": 7, "iscsi": 8, "audit": 9, "fib": 10, "connector": 11, "netfilter": 12,
    "uevent": 15, "generic": 16, "scsi": 18, "ecryptfs": 19, "rdma": 20, "crypto": 21,
}  # fmt: skip
PROTOCOLS = {"dccp": (6, 33), "sctp": (1, 132), "mptcp": (1, 262), "udplite": (2, 136)}
RTM_NEWLINK, RTM_NEWADDR = 16, 20
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def _made(domain: int, kind: int, protocol: int = 0) -> str:
    return attempt(call, "socket", domain, kind, protocol)


@probe("packet-sockets", expects="EPERM EAFNOSUPPORT")
def packet_sockets(given: Given) -> str:
    return together({
        "raw": _made(PACKET, RAW, socket.htons(3)),
        "datagram": _made(PACKET, DATAGRAM, socket.htons(3)),
        "inet-packet": _made(INET, SOCK_PACKET, socket.htons(3)),
    })  # fmt: skip


@probe("raw-sockets", expects="EPERM")
def raw_sockets(given: Given) -> str:
    return together({
        "icmp": _made(INET, RAW, 1), "any": _made(INET, RAW, 255), "icmp6": _made(INET6, RAW, 58),
    })  # fmt: skip


@probe("vsock", expects=REFUSED)
def vsock(given: Given) -> str:
    """A vsock has no namespace: it reaches the host of the host."""
    return together({"stream": _made(VSOCK, STREAM), "datagram": _made(VSOCK, DATAGRAM)})


@probe("vsock-high-bit", expects=REFUSED)
def vsock_high_bit(given: Given) -> str:
    """The kernel takes 32 bits of the domain; a filter that compares 64 would let this one pass."""
    return together({"vsock": _made(VSOCK | HIGH_BIT, STREAM), "alg": _made(ALG | HIGH_BIT, 5)})


@probe("alg-sockets", expects=REFUSED)
def alg_sockets(given: Given) -> str:
    return _made(ALG, 5)


@probe("socket-families", expects=NO_SUCH)
def socket_families(given: Given) -> str:
    families = [each for each in range(64) if each not in (UNIX, INET, INET6, NETLINK)]
    outcomes = {str(each): [_made(each, kind) for kind in (STREAM, DATAGRAM, RAW, 5)] for each in families}
    return together({family: "done" if "done" in words else words[0] for family, words in outcomes.items()})


@probe("netlink-families", expects=NO_SUCH)
def netlink_families(given: Given) -> str:
    return together({name: _made(NETLINK, RAW, number) for name, number in NETLINK_FAMILIES.items()})


@probe("inet-protocols", expects=NO_SUCH)
def inet_protocols(given: Given) -> str:
    return together({name: _made(INET, kind, number) for name, (kind, number) in PROTOCOLS.items()})


def _route_request(kind: int, body: bytes) -> str:
    """One rtnetlink request and the error in its answer."""

    def ask() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
            link.send(struct.pack("IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
            code = struct.unpack_from("i", link.recv(4096), 16)[0]
        if code:
            raise OSError(-code, "rtnetlink")

    return attempt(ask)


@probe("make-interface", expects="EPERM EACCES EAFNOSUPPORT")
def make_interface(given: Given) -> str:
    kind = struct.pack("HH", 9, 1) + b"dummy\0\0\0"
    link = struct.pack("BxHiII", 0, 0, 0, 0, 0) + struct.pack("HH", 4 + len(kind), 18) + kind
    address = struct.pack("BBBBI", INET, 24, 0, 0, 1) + struct.pack("HH", 8, 2) + socket.inet_aton("192.0.2.77")
    return together({"dummy": _route_request(RTM_NEWLINK, link), "address": _route_request(RTM_NEWADDR, address)})


@probe("change-interface", expects="EPERM")
def change_interface(given: Given) -> str:
    request = struct.pack("16sH14x", b"lo", IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        return attempt(fcntl.ioctl, asker, SIOCSIFFLAGS, request)


@probe("interfaces", expects="none")
def interfaces(given: Given) -> str:
    names = [each.partition(":")[0].strip() for each in Path("/proc/net/dev").read_text().splitlines()[2:]]
    return findings(each for each in names if each not in ("lo", "tunl0", "sit0", "ip6tnl0"))


@probe("routes", expects="none")
def routes(given: Given) -> str:
    four = [each.split()[0] for each in Path("/proc/net/route").read_text().splitlines()[1:]]
    six = Path("/proc/net/ipv6_route")
    found = four + [each.split()[-1] for each in six.read_text().splitlines()] if six.exists() else four
    return findings(each for each in found if each != "lo")
