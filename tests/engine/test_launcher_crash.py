"""Is everything still there, once, after the launcher was killed?"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eleagent.errors import IsolationFailed
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.sandbox import Phase
from eleagent_daemon.launcher.record import Record

from .launcher_bench import RUNTIMES, Bench, launcher_bench, output

COUNT = """
import sys, time
for n in range(%d):
    print(n, flush=True)
    print(-n, file=sys.stderr, flush=True)
    time.sleep(%f)
"""
LENGTHS = """
import sys, time
time.sleep(1.5)
for line in sys.stdin:
    print(len(line), line[:5].strip(), flush=True)
"""
ASK_TWICE = """
import socket, sys
for _ in range(2):
    sys.stdin.readline()
    s = socket.create_connection(('127.0.0.1', 328))
    print(s.recv(99).decode(), flush=True)
"""


@pytest.fixture(params=RUNTIMES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, docker_socket: str) -> AsyncIterator[Bench]:
    async with launcher_bench(tmp_path, docker_socket, request.param) as bench:
        yield bench


async def test_launcher_killed_loses_and_doubles_no_output(bench: Bench) -> None:
    spec = bench.spec("python3", "-c", COUNT % (600, 0.004))
    made = await bench.run(spec)
    for _ in range(3):
        await asyncio.sleep(0.4)
        bench.kill()
        await bench.start()
    ended = await bench.ended(spec.session)
    assert ended.status.exit_code == 0
    assert output(made) == b"".join(b"%d\n" % number for number in range(600))
    assert output(made, 2) == b"".join(b"%d\n" % -number for number in range(600))


async def test_launcher_killed_while_the_sandbox_ends_tells_the_end(bench: Bench) -> None:
    spec = bench.spec("python3", "-c", COUNT % (50, 0.002))
    made = await bench.run(spec)
    bench.kill()
    await asyncio.sleep(1.0)
    await bench.start()
    ended = await bench.ended(spec.session)
    assert (ended.status.phase, ended.status.exit_code) == (Phase.EXITED, 0)
    assert output(made) == b"".join(b"%d\n" % number for number in range(50))
    await bench.remove(spec.session)
    assert bench.left() == {"containers": [], "mounts": [], "loops": [], "files": []}


async def served(door: int, word: bytes) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=os.dup(door)) as listener:
        listener.setblocking(False)
        connection, _ = await asyncio.wait_for(loop.sock_accept(listener), 20)
        with connection:
            await loop.sock_sendall(connection, word)


@pytest.mark.parametrize("held", [True, False], ids=["daemon-holds-it", "daemon-died-too"])
async def test_launcher_killed_doors_work_again(bench: Bench, held: bool) -> None:
    spec = bench.spec("python3", "-c", ASK_TWICE, stdin=True)
    made = await bench.make(spec)
    await bench.attest(spec.session)
    door = (await bench.open_doors(spec.session))["tunnel"]
    await bench.release(spec.session)
    await bench.client.ask(launch.Write(session=spec.session, message="a", data=b"go\n", last=True), launch.Done)
    await served(door, b"first")
    bench.kill()
    if not held:
        os.close(door)
    await bench.start()
    names, sent = (["tunnel"], [door]) if held else ([], [])
    answer, fds = await bench.client.call(launch.OpenDoors(session=spec.session, held=names), sent)
    assert answer == launch.DoorSet(["tunnel"])
    await bench.client.ask(launch.Write(session=spec.session, message="b", data=b"go\n", last=True), launch.Done)
    await served(fds[0], b"second")
    for fd in [*fds, *sent]:
        os.close(fd)
    ended = await bench.ended(spec.session)
    assert ended.written == ["a", "b"]
    assert output(made) == b"first\nsecond\n"


async def test_launcher_takes_back_no_door_of_another_sandbox(bench: Bench) -> None:
    specs = [bench.spec("sleep", "60") for _ in range(2)]
    for spec in specs:
        await bench.make(spec)
        await bench.attest(spec.session)
    fds = list((await bench.open_doors(specs[0].session)).values())
    with pytest.raises(IsolationFailed, match="lies in network namespace"):
        await bench.client.call(launch.OpenDoors(session=specs[1].session, held=["tunnel"]), fds)
    with socket.create_server(("127.0.0.1", 0)) as stranger, pytest.raises(IsolationFailed, match="listens at"):
        await bench.client.call(launch.OpenDoors(session=specs[1].session, held=["tunnel"]), [stranger.fileno()])
    os.close(fds[0])


async def test_launcher_killed_in_the_middle_of_a_message_does_not_glue_the_next_to_it(bench: Bench) -> None:
    program = (
        "import sys, time\ntime.sleep(1.5)\nfor line in sys.stdin:\n  print(len(line), line[:5].strip(), flush=True)"
    )
    spec = bench.spec("python3", "-c", program, stdin=True)
    made = await bench.run(spec)
    line = b"x" * 900_000 + b"\n"  # far more than the pipe takes while nobody reads
    for at in range(0, len(line), launch.CHUNK_BYTES):
        piece = line[at : at + launch.CHUNK_BYTES]
        last = at + launch.CHUNK_BYTES >= len(line)
        await bench.client.ask(launch.Write(session=spec.session, message="m", data=piece, last=last), launch.Done)
    await asyncio.sleep(0.3)
    assert (await bench.inspect(spec.session)).written == []
    bench.kill()
    await bench.start()
    await bench.client.ask(launch.Write(session=spec.session, message="n", data=b"next\n", last=True), launch.Done)
    while b"next" not in output(made):
        await asyncio.sleep(0.05)
    assert output(made).splitlines()[-1] == b"5 next"
    assert (await bench.inspect(spec.session)).written == ["n"]


async def test_launcher_half_made_sandbox_is_cleared_away(bench: Bench) -> None:
    spec = bench.spec("true")
    making = asyncio.create_task(bench.make(spec))
    await asyncio.sleep(0.06)
    bench.kill()
    await asyncio.gather(making, return_exceptions=True)
    await bench.start()
    await bench.remove(spec.session)
    assert bench.left() == {"containers": [], "mounts": [], "loops": [], "files": []}


async def test_launcher_second_one_for_a_home_gives_way(bench: Bench) -> None:
    assert bench.process is not None
    second = await asyncio.create_subprocess_exec(*bench.process.args, stderr=asyncio.subprocess.PIPE)  # type: ignore[misc]
    _, told = await second.communicate()
    assert second.returncode == 1
    assert b"another launcher has" in told


ECHO = "import sys; [print(repr(line), flush=True) for line in sys.stdin]"


@pytest.mark.parametrize("written", [False, True], ids=["before-the-word", "after-the-word"])
async def test_launcher_killed_over_a_release_opens_the_gate_once(bench: Bench, written: bool) -> None:
    spec = bench.spec("python3", "-c", ECHO, stdin=True)
    made = await bench.make(spec)
    await bench.attest(spec.session)
    for fd in (await bench.open_doors(spec.session)).values():
        os.close(fd)
    if written:
        await bench.release(spec.session)
    bench.kill()
    # As it was at the moment of death: the intent on disk, and not that the word was written.
    folder = bench.home / "launcher" / spec.session
    record = Record.load(folder)
    record.released, record.opened = True, False
    record.save(folder)
    await bench.start()
    early = launch.Write(session=spec.session, message="a", data=b"first\n", last=True)
    await bench.client.ask(early, launch.Done)  # waits for the gate, else it would be taken for its word
    for _ in range(2):
        await bench.release(spec.session)
    while not output(made).endswith(b"\n"):
        await asyncio.sleep(0.05)
    assert output(made) == b"'first\\n'\n"
    assert (await bench.inspect(spec.session)).status.phase is Phase.RUNNING
