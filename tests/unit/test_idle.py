"""Does a daemon end by itself when nobody needs it, and never while somebody does?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eleagent_daemon.idle import until_unneeded
from eleagent_daemon.listen import bind_socket

IDLE_S = 0.2


@dataclass
class Served:
    connections: list[str] = field(default_factory=list)
    requests_count: int = 0


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with bind_socket(tmp_path / "api.sock"):
        yield tmp_path / "api.sock"


def waiting(served: Served, socket: Path, live: list[str], *, idle_s: float = IDLE_S) -> asyncio.Task[bool]:
    async def sessions() -> list[str]:
        return live

    return asyncio.create_task(
        until_unneeded(asyncio.Event(), idle_s=idle_s, served=served, sessions=sessions, socket=socket)
    )


async def test_daemon_that_nobody_needs_ends_and_leaves_no_socket(socket: Path) -> None:
    assert await waiting(Served(), socket, [])
    assert list(socket.parent.iterdir()) == []


@pytest.mark.parametrize("needs", ["session", "connection"])
async def test_daemon_stays_for_a_session_or_a_client_and_counts_from_its_end(socket: Path, needs: str) -> None:
    live, served = ["s-1"] if needs == "session" else [], Served(["client"] if needs == "connection" else [])
    wait = waiting(served, socket, live)
    await asyncio.sleep(3 * IDLE_S)
    assert not wait.done()
    live.clear()
    served.connections.clear()
    await asyncio.sleep(IDLE_S / 2)
    assert not wait.done()
    assert await wait


async def test_daemon_stays_while_it_is_asked_now_and_then(socket: Path) -> None:
    served = Served()
    wait = waiting(served, socket, [])
    for _ in range(6):
        await asyncio.sleep(IDLE_S / 2)
        served.requests_count += 1
    assert not wait.done()
    assert socket.is_socket()
    assert await wait


async def test_client_that_comes_at_the_last_moment_is_not_turned_away(socket: Path) -> None:
    """It found the socket just before it was put aside, and asks just after."""
    served = Served()
    wait = waiting(served, socket, [])
    while socket.exists():
        await asyncio.sleep(0.005)
    served.requests_count += 1
    while not socket.exists():
        await asyncio.sleep(0.005)
    assert not wait.done()
    assert await wait


async def test_daemon_without_the_setting_stays_until_it_is_stopped(socket: Path) -> None:
    wait = waiting(Served(), socket, [], idle_s=0)
    await asyncio.sleep(2 * IDLE_S)
    assert not wait.done()
    wait.cancel()


async def test_daemon_that_is_stopped_did_not_end_by_itself(socket: Path) -> None:
    stopped = asyncio.Event()
    stopped.set()

    async def sessions() -> list[str]:
        return []

    assert not await until_unneeded(stopped, idle_s=60, served=Served(), sessions=sessions, socket=socket)
    assert socket.is_socket()
