"""How many packets came for the lab's addresses? Runs in the lab's namespace; a line on stdin asks for the counts."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import threading
from collections import Counter

IPV4, IPV6 = 0x0800, 0x86DD
ETH_P_ALL = 3
PACKET_OUTGOING = 4
TCP, UDP, ICMP, ICMP6, ECHO, ECHO6 = 6, 17, 1, 58, 8, 128


def destination(kind: int, packet: bytes) -> str:
    """Whom a packet of TCP, UDP or ICMP echo is for; "" for everything else (neighbour discovery and the like)."""
    if kind == IPV4 and len(packet) > 20:
        protocol, first, address = (
            packet[9],
            packet[(packet[0] & 15) * 4],
            socket.inet_ntop(socket.AF_INET, packet[16:20]),
        )
    elif kind == IPV6 and len(packet) > 40:
        protocol, first, address = packet[6], packet[40], socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return ""
    wanted = protocol in (TCP, UDP) or (protocol == ICMP and first == ECHO) or (protocol == ICMP6 and first == ECHO6)
    return address if wanted else ""


def listen(kind: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    listener.bind((host, port))
    if kind == socket.SOCK_STREAM:
        listener.listen(64)
    return listener


def answer(listeners: list[socket.socket]) -> None:
    ready = selectors.DefaultSelector()
    for each in listeners:
        ready.register(each, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            listener = key.fileobj
            assert isinstance(listener, socket.socket)
            if listener.type == socket.SOCK_STREAM:
                listener.accept()[0].close()
            else:
                data, sender = listener.recvfrom(2048)
                listener.sendto(data, sender)


def count(addresses: set[str], seen: Counter[str], wire: socket.socket) -> None:
    while True:
        packet, (_, kind, direction, *_) = wire.recvfrom(4096)
        address = destination(kind, packet)
        if direction != PACKET_OUTGOING and address in addresses:
            seen[address] += 1


def main() -> None:
    port, addresses = int(sys.argv[1]), sys.argv[2:]
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    kinds = ((socket.SOCK_STREAM, port), (socket.SOCK_DGRAM, port), (socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 53))
    listeners = [listen(kind, host, number) for host in addresses for kind, number in kinds]
    seen: Counter[str] = Counter(dict.fromkeys(addresses, 0))
    threading.Thread(target=answer, args=(listeners,), daemon=True).start()
    threading.Thread(target=count, args=(set(addresses), seen, wire), daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(seen), flush=True)


main()
