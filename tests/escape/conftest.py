"""What surrounds the probes: an engine, a lab that counts packets, and a host with something to find."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Arena, Engine
from .lab import TOLD_LAB, Lab, ToldLab, lab

CANARY = "canary-7b1d0c4e-do-not-find"


@pytest.fixture(scope="session")
def escape_engine(docker_socket: str) -> Engine:
    return Engine(docker_socket)


@pytest.fixture(scope="session")
def escape_lab() -> Iterator[Lab]:
    """Who is not root can't make one: he is told of the one that root made and counts for."""
    if told := os.environ.get(TOLD_LAB):
        yield ToldLab(**json.loads(told))
        return
    if os.getuid():
        pytest.skip("root alone can make a lab")
    with lab() as made:
        yield made


@pytest.fixture(scope="session")
def host_port() -> Iterator[int]:
    """A service of the host's on all its addresses, both protocols; it greets whoever comes."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        threading.Thread(target=_greet, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def _greet(listener: socket.socket) -> None:
    while True:
        try:
            with listener.accept()[0] as guest:
                guest.sendall(b"host")
        except OSError:
            return


@pytest.fixture
def arena(escape_lab: Lab, host_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arena:
    """The canary is in this process's environment and in a file of the host's that anybody may read."""
    monkeypatch.setenv("ELEAGENT_CANARY", CANARY)
    (tmp_path / "secret").write_text(CANARY)
    neighbour_side = escape_lab.hosts[2].rpartition(".")[0] + ".1"
    return Arena(
        facts={
            "lab_hosts": list(escape_lab.hosts),
            "lab_metadata": escape_lab.metadata,
            "lab_port": escape_lab.port,
            "host_ports": [host_port],
            "host_addresses": [neighbour_side],
            "host_words": [socket.gethostname()],
            "canaries": [CANARY[::-1]],
            "foreign_paths": [str(tmp_path / "secret"), __file__],
        }
    )
