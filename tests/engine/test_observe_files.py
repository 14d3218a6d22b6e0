"""Does the host see every file that a sandbox made, changed, renamed or deleted, per turn and at the end?"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eleagent.wire.observations import FileChange, FilesChanged
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.launch import Made
from eleagent_daemon.domain.observed import unpack
from eleagent_daemon.domain.spool import Stream
from eleagent_daemon.store.spoolreader import SpoolReader

from .launcher_bench import Bench, launcher_bench, output

pytestmark = pytest.mark.engine

TURNS = """
cd /workspace; echo one > a; echo two > b; echo h > /home/agent/.hidden; echo out > /artefacts/out; echo ready; read x
echo more >> a; mv b c; rm /home/agent/.hidden
echo t > t; rm t; echo u > u; mv u v; mkdir deep; echo d > deep/d; rm deep/d; echo ready; read x
rm a; head -c 3000000 /dev/zero > big
"""


@pytest.fixture
async def bench(tmp_path: Path, docker_socket: str) -> AsyncIterator[Bench]:
    async with launcher_bench(tmp_path, docker_socket) as bench:
        yield bench


def looks(made: Made) -> list[FilesChanged]:
    reader, found = SpoolReader(folder=Path(made.spool), offset=0), []
    while frames := reader.read():
        found += [one for frame in frames if frame.stream is Stream.SEEN for one in unpack(frame.payload)]
    return [one for one in found if isinstance(one, FilesChanged)]


def told(look: FilesChanged) -> list[tuple[str, str]]:
    return [(one.change.value, one.path) for one in look.changes]


async def until(made: Made, text: bytes, count: int) -> None:
    while output(made).count(text) < count:
        await asyncio.sleep(0.02)


async def next_look(bench: Bench, session: str, made: Made) -> FilesChanged:
    before = len(looks(made))
    await bench.client.ask(launch.Look(session=session), launch.Done)
    while len(looks(made)) == before:
        await asyncio.sleep(0.02)
    return looks(made)[-1]


async def say(bench: Bench, session: str, message: str) -> None:
    await bench.client.ask(launch.Write(session=session, message=message, data=b"go on\n", last=True), launch.Done)


async def test_files_are_told_per_turn_and_at_the_end_across_launchers(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", TURNS, stdin=True)
    made = await bench.run(spec)
    await until(made, b"ready", 1)
    first = await next_look(bench, spec.session, made)
    assert told(first) == [
        ("created", path) for path in ("/artefacts/out", "/home/agent/.hidden", "/workspace/a", "/workspace/b")
    ]
    await say(bench, spec.session, "m1")
    await until(made, b"ready", 2)
    second = await next_look(bench, spec.session, made)
    assert told(second) == [
        ("deleted", "/home/agent/.hidden"), ("changed", "/workspace/a"), ("renamed", "/workspace/c"),
        ("created", "/workspace/v"),
    ]  # fmt: skip
    assert second.passed == ["/workspace/deep/d", "/workspace/t", "/workspace/u"]
    assert second.changes[2].before_path == "/workspace/b"
    bench.kill()
    await bench.start()
    await say(bench, spec.session, "m2")
    assert (await bench.ended(spec.session)).status.exit_code == 0
    last = looks(made)[-1]
    assert (told(last), last.final) == ([("deleted", "/workspace/a"), ("created", "/workspace/big")], True)
    big: FileChange = last.changes[1]
    assert (big.size_bytes, big.sha256) == (3_000_000, hashlib.sha256(bytes(3_000_000)).hexdigest())
    await bench.remove(spec.session)
    assert bench.left()["files"] == []


async def test_files_of_a_session_that_goes_on_are_compared_with_what_it_left(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "echo one > /workspace/a; echo two > /workspace/b")
    await bench.run(spec)
    await bench.ended(spec.session)
    await bench.remove(spec.session, forget=False)
    other = bench.spec("sh", "-c", "echo more >> /workspace/b")
    other = msgspec.structs.replace(other, disk_of=spec.session, uid=spec.uid)
    made = await bench.run(other)
    await bench.ended(other.session)
    assert told(looks(made)[-1]) == [("changed", "/workspace/b")]


async def test_files_on_a_kept_disk_are_not_told_again(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "echo one > /workspace/a; echo two >> /workspace/b")
    made = await bench.run(spec)
    await bench.ended(spec.session)
    assert told(looks(made)[-1]) == [("created", "/workspace/a"), ("created", "/workspace/b")]
    await bench.remove(spec.session, forget=False)
    made = await bench.run(spec)
    await bench.ended(spec.session)
    assert [told(look) for look in looks(made)] == [[("changed", "/workspace/b")]]
