"""What can a process in the sandbox reach by network, and can it take the places of the doors?"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from registry import Given, attempt, findings, probe, together

NOWHERE = "ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EPERM"
WAIT_S = 0.4


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _connect(host: str, port: int) -> str:
    def reach() -> None:
        with socket.socket(_family(host), socket.SOCK_STREAM) as asker:
            asker.settimeout(WAIT_S)
            asker.connect((host, port))

    return _or_silence(reach)


def _send(host: str, port: int, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> str:
    def reach() -> None:
        with socket.socket(_family(host), kind, protocol) as sender:
            sender.settimeout(WAIT_S)
            sender.sendto(b"\x08\0\xf7\xff\0\0\0\0" if protocol else b"escape", (host, port))

    return _or_silence(reach)


def _or_silence(reach: Callable[[], None]) -> str:
    """`silence`: the packet went somewhere and nobody answered, which is not containment."""
    try:
        return attempt(reach)
    except TimeoutError:
        return "silence"


def _lab(given: Given, reach: Callable[[str], str]) -> str:
    if not given.lab_hosts:
        return "unasked: no lab was named and no other address may be probed"
    return together({host: reach(host) for host in given.lab_hosts})


@probe("internet-tcp", expects=NOWHERE)
def internet_tcp(given: Given) -> str:
    return _lab(given, lambda host: _connect(host, given.lab_port))


@probe("internet-udp", expects=NOWHERE)
def internet_udp(given: Given) -> str:
    return _lab(given, lambda host: _send(host, given.lab_port))


@probe("internet-ping", expects=NOWHERE + " EACCES EPROTONOSUPPORT")
def internet_ping(given: Given) -> str:
    def ping(host: str) -> str:
        protocol = socket.IPPROTO_ICMPV6 if ":" in host else socket.IPPROTO_ICMP
        return _send(host, 0, socket.SOCK_DGRAM, protocol)

    return _lab(given, ping)


@probe("metadata", expects=NOWHERE)
def metadata(given: Given) -> str:
    if not given.lab_metadata:
        return "unasked: no lab stands in for the metadata service"
    return together({"tcp": _connect(given.lab_metadata, 80), "udp": _send(given.lab_metadata, 53)})


@probe("multicast", expects=NOWHERE + " ENODEV EINVAL")
def multicast(given: Given) -> str:
    return together({each: _send(each, 5353) for each in ("224.0.0.251", "255.255.255.255", "ff02::1", "ff05::1")})


@probe("dns", expects="ECONNREFUSED EPERM " + NOWHERE)
def dns(given: Given) -> str:
    """Docker's resolver is at 127.0.0.11 where there is one; a lab address plays everybody else's."""
    question = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\6escape\7invalid\0\0\1\0\1"

    def ask(host: str) -> str:
        return _or_silence(lambda: _answered(host, question))

    hosts = ["127.0.0.11", "127.0.0.1", *given.lab_hosts[:1]]
    return together({host: ask(host) for host in hosts} | {"tcp": _connect("127.0.0.11", 53)})


def _answered(host: str, question: bytes) -> None:
    with socket.socket(_family(host), socket.SOCK_DGRAM) as asker:
        asker.settimeout(WAIT_S)
        asker.connect((host, 53))
        asker.send(question)
        asker.recv(512)


@probe("resolve", expects="nothing")
def resolve(given: Given) -> str:
    """A reserved name (RFC 2606). Only where there is no way out: a resolver that answers is a real one."""
    if any(each.split()[1] == "00000000" for each in Path("/proc/net/route").read_text().splitlines()[1:]):
        return "unasked: there is a default route"
    try:
        return f"resolved: {socket.getaddrinfo('escape.invalid', 80)}"
    except socket.gaierror as error:
        return "nothing" if error.errno in (socket.EAI_AGAIN, socket.EAI_NONAME) else f"other: {error}"


@probe("host-loopback", expects="ECONNREFUSED")
def host_loopback(given: Given) -> str:
    ports = given.host_ports or [22]
    return together(
        {f"{host}:{port}": _connect(host, port) for port in ports for host in ("127.0.0.1", "::1", "127.9.9.9")}
    )


@probe("host-addresses", expects=NOWHERE)
def host_addresses(given: Given) -> str:
    if not given.host_addresses:
        return "unasked: no address of the host was named"
    return together({
        f"{host}:{port}": _connect(host, port) for host in given.host_addresses for port in given.host_ports or [22]
    })  # fmt: skip


@probe("engine-ports", expects="ECONNREFUSED " + NOWHERE)
def engine_ports(given: Given) -> str:
    hosts = ["127.0.0.1", *given.host_addresses]
    return together({f"{host}:{port}": _connect(host, port) for host in hosts for port in (2375, 2376, 2377, 10250)})


@probe("abstract-sockets", expects="none")
def abstract_sockets(given: Given) -> str:
    """Abstract names belong to a network namespace: whoever shares the host's can speak to all of them."""
    names = (each.split()[-1] for each in Path("/proc/net/unix").read_text().splitlines()[1:])
    return findings(each for each in names if each.startswith("@"))


@probe("listeners", expects="none")
def listeners(given: Given) -> str:
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = Path("/proc/net") / table
        for each in path.read_text().splitlines()[1:] if path.exists() else ():
            port, state = int(each.split()[1].rpartition(":")[2], 16), each.split()[3]
            if state in ("0A", "07") and port not in given.open_doors:
                found.append(f"{table} {port}")
    return findings(found)


def _bind(port: int, *, host: str, kind: int, sharing: tuple[int, ...] = ()) -> str:
    def take() -> None:
        with socket.socket(_family(host), kind) as thief:
            for option in sharing:
                thief.setsockopt(socket.SOL_SOCKET, option, 1)
            thief.bind((host, port))
            if kind == socket.SOCK_STREAM:
                thief.listen()

    return attempt(take)


@probe("take-doors", expects="EACCES")
def take_doors(given: Given) -> str:
    """Every way to bind a door's port, whether somebody listens there or not."""
    both = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    return together({
        f"{host}:{port}/{kind.name[5:]}{len(sharing)}": _bind(port, host=host, kind=kind, sharing=sharing)
        for port in given.door_ports
        for host in ("127.0.0.1", "0.0.0.0", "127.0.0.2", "::1", "::", "::ffff:127.0.0.1")
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        for sharing in ((), (socket.SO_REUSEPORT,), both)
    })  # fmt: skip


@probe("take-low-ports", expects="EACCES")
def take_low_ports(given: Given) -> str:
    ports = (1, 53, 80, 443, 820, 1023)
    return together({str(port): _bind(port, host="127.0.0.1", kind=socket.SOCK_STREAM) for port in ports})


@probe("take-doors-by-connecting", expects="EACCES ECONNREFUSED EISCONN")
def take_doors_by_connecting(given: Given) -> str:
    """A socket that connects to itself stands on a port without ever having bound it with rights."""

    def meet(port: int) -> None:
        with socket.socket() as itself:
            itself.bind(("127.0.0.1", port))
            itself.connect(("127.0.0.1", port))

    return together({str(port): attempt(meet, port) for port in given.door_ports})


@probe("lower-port-boundary", expects="EROFS EACCES EPERM")
def lower_port_boundary(given: Given) -> str:
    path = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return attempt(path.write_text, "0")
