"""What would have reached the internet, the metadata service or a neighbour?

A network namespace that owns documentation addresses (RFC 5737, RFC 3849) and the metadata address, answers on them,
and counts what arrives. The host routes those addresses into it, so that no packet for them ever leaves this machine.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOLD_LAB = "ELEAGENT_TOLD_LAB"
METADATA = "169.254.169.254"
PORT = 8088
TEST_NETS = ("198.51.100", "203.0.113", "192.0.2")
SIX = "2001:db8:e1e"


@dataclass(frozen=True)
class Lab:
    """`hosts` play the internet and a neighbour on the host's own link, in both protocols."""

    counter: subprocess.Popen[str]
    hosts: tuple[str, ...]
    metadata: str = METADATA
    port: int = PORT

    def seen(self) -> dict[str, int]:
        """Packets of TCP, UDP and ICMP echo that came so far, for each address."""
        assert self.counter.stdin is not None
        assert self.counter.stdout is not None
        self.counter.stdin.write("count\n")
        self.counter.stdin.flush()
        counted: dict[str, int] = json.loads(self.counter.stdout.readline())
        return counted


@dataclass(frozen=True)
class ToldLab(Lab):
    """Of another process, which counts."""

    counter: None = None  # type: ignore[assignment]
    hosts: tuple[str, ...] = ()

    def seen(self) -> dict[str, int]:
        return {}


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def free_test_net() -> str:
    """The first three numbers of a documentation network that this machine does not use itself."""
    links = json.loads(_ip("-j", "address"))
    used = [ipaddress.ip_address(each["local"]) for link in links for each in link["addr_info"] if "local" in each]
    return next(net for net in TEST_NETS if not any(each in ipaddress.ip_network(f"{net}.0/24") for each in used))


def _six(address: str) -> list[str]:
    return [address, "nodad"] if ":" in address else [address]


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Make the lab, and leave no trace of it."""
    net = free_test_net()
    name, outside, inside = (f"ele-{each}-{os.getpid()}" for each in ("lab", "o", "i"))
    here = (f"{net}.1/28", f"{SIX}::1/64")
    neighbours, internet = (f"{net}.2", f"{SIX}::2"), (f"{net}.130", f"{SIX}:1::2")
    with contextlib.ExitStack() as undo:
        _ip("netns", "add", name)
        undo.callback(_ip, "netns", "delete", name)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        undo.callback(_ip, "link", "delete", outside)
        for address in here:
            _ip("address", "add", *_six(address), "dev", outside)
        _ip("link", "set", outside, "up")
        for device in ("lo", inside):
            _ip("-n", name, "link", "set", device, "up")
        for address in (f"{neighbours[0]}/28", f"{neighbours[1]}/64", *internet, METADATA):
            _ip("-n", name, "address", "add", *_six(address), "dev", inside)
        for target, by in ((f"{net}.128/28", 0), (f"{METADATA}/32", 0), (f"{SIX}:1::/64", 1)):
            _ip("route", "add", target, "via", neighbours[by], "dev", outside)
        for address in here:
            _ip("-n", name, "route", "add", "default", "via", address.partition("/")[0])
        command = ["ip", "netns", "exec", name, sys.executable, str(Path(__file__).with_name("lab_counter.py"))]
        hosts = (*internet, *neighbours)
        arguments = [*command, str(PORT), *hosts, METADATA]
        counter = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        undo.callback(_end, counter)
        made = Lab(counter, hosts)
        made.seen()
        yield made


def _end(counter: subprocess.Popen[str]) -> None:
    with counter:
        counter.kill()
