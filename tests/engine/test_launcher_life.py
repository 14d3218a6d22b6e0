"""Does a sandbox live and die as the launcher's verbs say, and is nothing left of it?"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import BadRequest, Conflict, ImageMissing, IsolationFailed, NotFound, Refused
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.sandbox import BUBBLEWRAP, Phase
from eleagent_daemon.domain.spool import Stream
from eleagent_daemon.store.spoolreader import SpoolReader

from .launcher_bench import DOCKER_ALONE, RUNTIMES, Bench, launcher_bench, output

TALK = "import socket; s = socket.create_connection(('127.0.0.1', %d)); s.sendall(b'ask'); print(s.recv(99).decode())"
STUBBORN = """
sh -c 'trap "echo child" TERM; while :; do sleep 0.05; done' &
trap 'echo parent' TERM
while :; do sleep 0.05; done
"""
LEAVE = """
import os, socket
os.makedirs('/artefacts/deep/er')
open('/artefacts/report.txt', 'w').write('found 3')
open('/artefacts/deep/er/tool', 'w').write('#!/bin/sh')
os.chmod('/artefacts/deep/er/tool', 0o755)
open(b'/artefacts/name-\\xff', 'w').write('odd')
os.symlink('/etc/passwd', '/artefacts/link')
os.mkfifo('/artefacts/fifo')
socket.socket(socket.AF_UNIX).bind('/artefacts/sock')
open('/artefacts/big', 'w').truncate(1 << 30)
"""


@pytest.fixture(params=RUNTIMES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, docker_socket: str) -> AsyncIterator[Bench]:
    async with launcher_bench(tmp_path, docker_socket, request.param) as bench:
        yield bench


async def answer_at(fd: int, word: bytes) -> bytes:
    """Accept one connection at a door and answer it."""
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=fd) as door:
        door.setblocking(False)
        connection, _ = await asyncio.wait_for(loop.sock_accept(door), 20)
        with connection:
            asked = await loop.sock_recv(connection, 99)
            await loop.sock_sendall(connection, word)
    return asked


async def test_launcher_full_life_leaves_nothing(bench: Bench) -> None:
    spec = bench.spec("python3", "-c", TALK % 810, model=810)
    made = await bench.make(spec)
    assert await bench.make(spec) == made
    report = await bench.attest(spec.session)
    assert report.complete, report.failures
    doors = await bench.open_doors(spec.session)
    assert list(doors) == ["tunnel", "model"]
    assert (await bench.inspect(spec.session)).status.phase is Phase.RUNNING
    assert output(made) == b""
    await bench.release(spec.session)
    assert await answer_at(doors["model"], b"answer") == b"ask"
    os.close(doors["tunnel"])
    ended = await bench.ended(spec.session)
    assert (ended.status.phase, ended.status.exit_code) == (Phase.EXITED, 0), output(made, 2)
    assert output(made) == b"answer\n"
    await bench.remove(spec.session)
    await bench.remove(spec.session)
    assert bench.left() == {"containers": [], "mounts": [], "loops": [], "files": []}


async def test_launcher_collects_regular_files_alone(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec("python3", "-c", LEAVE)
    made = await bench.run(spec)
    assert (await bench.ended(spec.session)).status.exit_code == 0, output(made, 2)
    target = tmp_path / "target"
    target.mkdir()
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(2):  # a second collection takes the first one's place
        verb = launch.Collect(session=spec.session, limit_bytes=1 << 20, limit_files=100)
        collected = await bench.client.ask(verb, launch.Collected, [fd])
    os.close(fd)
    stored = msgspec.json.decode((target / "manifest.json").read_bytes(), type=list[launch.StoredFile])
    assert sorted(file.path for file in stored) == ["deep/er/tool", "name-\\xff", "report.txt"]
    assert sorted(path.name for path in target.iterdir()) == ["files", "manifest.json"]
    for file in stored:
        assert hashlib.sha256((target / "files" / file.path).read_bytes()).hexdigest() == file.sha256
    assert (target / "files" / "report.txt").read_text() == "found 3"
    assert stat.S_IMODE((target / "files" / "deep" / "er" / "tool").stat().st_mode) == 0o755
    assert collected.count == 3
    skipped = dict(line.rsplit(": ", 1) for line in collected.skipped)
    assert skipped == {
        "link": "a symbolic link",
        "fifo": "a FIFO",
        "sock": "a socket",
        "big": "over the limit of 1048576 bytes",
    }


async def test_launcher_gate_stays_closed_without_attestation(bench: Bench) -> None:
    spec = bench.spec("true")
    await bench.make(spec)
    with pytest.raises(IsolationFailed, match="not attested"):
        await bench.release(spec.session)
    with pytest.raises(IsolationFailed, match="not attested"):
        await bench.open_doors(spec.session)
    assert (await bench.inspect(spec.session)).status.phase is Phase.RUNNING


@pytest.mark.parametrize("bench", [DOCKER_ALONE], indirect=True)
async def test_launcher_restarted_container_is_not_the_attested_one(bench: Bench, docker_socket: str) -> None:
    spec = bench.spec("true")
    await bench.make(spec)
    await bench.attest(spec.session)
    restart = ["-H", f"unix://{docker_socket}", "restart", "-t", "0", spec.name]
    process = await asyncio.create_subprocess_exec("docker", *restart, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    with pytest.raises(IsolationFailed, match="not the one that was attested"):
        await bench.release(spec.session)


async def test_launcher_input_of_a_megabyte_is_written_whole(bench: Bench) -> None:
    program = "import sys, hashlib; d = sys.stdin.buffer.readline(); e = sys.stdin.buffer.readline();"
    spec = bench.spec("python3", "-c", program + "print(hashlib.sha256(d).hexdigest(), len(d), e)", stdin=True)
    made = await bench.run(spec)
    line = os.urandom(500_000).hex().encode() + b"\n"
    pieces = [line[at : at + launch.CHUNK_BYTES] for at in range(0, len(line), launch.CHUNK_BYTES)]
    for number, piece in enumerate(pieces):
        verb = launch.Write(session=spec.session, message="m1", data=piece, last=number == len(pieces) - 1)
        await bench.client.ask(verb, launch.Done)
    for _ in range(2):  # said twice, written once
        await bench.client.ask(launch.Write(session=spec.session, message="m2", data=b"two\n", last=True), launch.Done)
    ended = await bench.ended(spec.session)
    assert ended.written == ["m1", "m2"]
    digest = hashlib.sha256(line).hexdigest()
    assert output(made) == f"{digest} {len(line)} b'two\\n'\n".encode()


async def test_launcher_stop_reaches_every_process_and_kills_at_last(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", STUBBORN)
    made = await bench.run(spec)
    with bench.client.notices(spec.session) as notices:
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await bench.client.ask(launch.Stop(session=spec.session, grace_s=0.7), launch.Done)
        while not (await asyncio.wait_for(notices.next(), 10)).ended:
            pass
    assert time.monotonic() - began > 0.6
    assert sorted(output(made).split()) == [b"child", b"parent"]
    assert (await bench.inspect(spec.session)).status.exit_code == 128 + signal.SIGKILL


async def test_launcher_spool_at_its_cap_loses_nothing(bench: Bench) -> None:
    """80 MB against a cap of 64 MiB: the program waits until the daemon has read."""
    spec = bench.spec("python3", "-c", "import sys; [sys.stdout.write('%09d\\n' % n) for n in range(8_000_000)]")
    made = await bench.make(spec)
    await bench.attest(spec.session)
    for fd in (await bench.open_doors(spec.session)).values():
        os.close(fd)
    with bench.client.notices(spec.session) as notices:
        await bench.release(spec.session)
        while "full" not in (await asyncio.wait_for(notices.next(), 60)).text:
            pass
        await asyncio.sleep(0.3)
        assert (await bench.inspect(spec.session)).status.phase is Phase.RUNNING
        size = sum(path.stat().st_size for path in Path(made.spool).iterdir())
        assert size < 66 << 20
        first = output(made)
        bench.client.consumed(spec.session, (await bench.inspect(spec.session)).spooled)
        ended = await asyncio.wait_for(bench.ended(spec.session), 60)
    assert ended.status.exit_code == 0
    reader_start = min(int(path.stem) for path in Path(made.spool).glob("*.spool"))
    assert reader_start > 0
    assert first == b"".join(b"%09d\n" % number for number in range(8_000_000))[: len(first)]
    assert last_position(made, reader_start) == 80_000_000


def last_position(made: launch.Made, offset: int) -> int:
    """How many bytes of standard output the spool has told of at its end."""
    reader, position = SpoolReader(folder=Path(made.spool), offset=offset), None
    while frames := reader.read():
        for frame in (one for one in frames if one.stream is Stream.OUT):
            assert position in (None, frame.at)
            position = frame.at + len(frame.payload)
    return position or 0


async def test_launcher_home_is_kept_for_resume_unless_forgotten(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "echo kept >> $0; cat $0", "/home/agent/note")
    for attempt, expected in ((1, b"kept\n"), (2, b"kept\nkept\n")):
        spec = msgspec.structs.replace(spec, attempt=attempt)
        made = await bench.run(spec)
        await bench.ended(spec.session)
        assert output(made) == expected
        await bench.remove(spec.session, forget=False)
        assert bench.left()["mounts"] == []


async def test_launcher_refuses_what_is_not_its_own(bench: Bench) -> None:
    spec = bench.spec("true")
    for wrong in (
        msgspec.structs.replace(spec, installation="another"),
        msgspec.structs.replace(spec, uid=0),
        msgspec.structs.replace(spec, session="../../../x"),
    ):
        with pytest.raises(BadRequest):
            await bench.make(wrong)
    assert bench.left() == {"containers": [], "mounts": [], "loops": [], "files": []}


async def test_launcher_other_attempt_waits_for_the_removal(bench: Bench) -> None:
    spec = bench.spec("true")
    await bench.make(spec)
    with pytest.raises(Conflict, match="remove it before"):
        await bench.make(msgspec.structs.replace(spec, attempt=2))


async def test_launcher_failed_creation_leaves_nothing(bench: Bench) -> None:
    spec = msgspec.structs.replace(bench.spec("true"), image=f"sha256:{'0' * 64}")
    with pytest.raises(ImageMissing, match=r"0000 is not (on this engine|here)"):
        await bench.make(spec)
    with pytest.raises(NotFound):
        await bench.inspect(spec.session)
    left = bench.left()
    assert (left["containers"], left["mounts"], left["loops"]) == ([], [], [])


async def test_launcher_loosened_sandbox_is_killed_at_the_next_attestation(bench: Bench, docker_socket: str) -> None:
    spec = bench.spec("sleep", "60")
    await bench.run(spec)
    assert (await bench.attest(spec.session)).complete
    loosen = ["docker", "-H", f"unix://{docker_socket}", "update", "--pids-limit", "5000", spec.name]
    if bench.runtime == BUBBLEWRAP and os.getuid() == 0:
        (limit,) = Path("/sys/fs/cgroup").rglob(f"eleagent/{spec.name}/pids.max")
        loosen = ["sh", "-c", f"echo 5000 > {limit}"]
    elif bench.runtime == BUBBLEWRAP:
        pid = (await bench.inspect(spec.session)).status.pid
        loosen = ["prlimit", f"--pid={pid}", "--nproc=511:511"]
    process = await asyncio.create_subprocess_exec(*loosen, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    with bench.client.notices(spec.session) as notices:
        await bench.attest(spec.session)
        violation: list[str] = []
        while not (notice := await asyncio.wait_for(notices.next(), 10)).ended:
            violation += notice.violation
    assert any("512" in line and ("5000" in line or "511" in line) for line in violation), violation
    assert (await bench.inspect(spec.session)).status.phase is Phase.EXITED


async def test_launcher_lets_no_two_live_alike(bench: Bench) -> None:
    spec = bench.spec("true")
    await bench.make(spec)
    twin = msgspec.structs.replace(bench.spec("true"), uid=spec.uid)
    with pytest.raises(Conflict, match=f"is the live sandbox's of {spec.session}"):
        await bench.make(twin)
    await bench.remove(spec.session)
    twins = [twin, msgspec.structs.replace(bench.spec("true"), uid=spec.uid)]
    made = await asyncio.gather(*map(bench.make, twins), return_exceptions=True)
    assert sorted(type(one).__name__ for one in made) == ["Conflict", "Made"]


async def test_launcher_collects_into_no_folder_but_the_daemons(bench: Bench, tmp_path: Path) -> None:
    spec = bench.spec("sh", "-c", "echo mine > /artefacts/file")
    await bench.run(spec)
    await bench.ended(spec.session)
    others, owner = Path("/usr"), 0
    if os.getuid() == 0:
        others, owner = tmp_path / "others", 23001
        others.mkdir()
        os.chown(others, owner, owner)
    before = list(others.iterdir())
    fd = os.open(others, os.O_RDONLY | os.O_DIRECTORY)
    verb = launch.Collect(session=spec.session, limit_bytes=1 << 20, limit_files=100)
    with pytest.raises(Refused, match=f"uid {owner}"):
        await bench.client.ask(verb, launch.Collected, [fd])
    os.close(fd)
    assert list(others.iterdir()) == before


async def test_launcher_greeted_after_it_was_asked_to_go_stays(bench: Bench) -> None:
    assert bench.process is not None
    spec = bench.spec("sleep", "60")
    await bench.run(spec)
    bench.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as newer:
        newer.connect(str(bench.socket))  # the older connection is let go, and its client greets again
        await asyncio.sleep(0.3)
    await bench.client.ready(10)
    await bench.client.ask(launch.Stop(session=spec.session, grace_s=0.1), launch.Done)
    await bench.ended(spec.session)
    await asyncio.sleep(1.0)
    assert bench.process.poll() is None


async def test_launcher_sandbox_keeps_no_disk_of_another(bench: Bench) -> None:
    """A mount namespace of the second holds what was mounted when it was made, unless it lets go of it."""
    first, second = bench.spec("sleep", "60"), bench.spec("sleep", "60")
    for spec in (first, second):
        await bench.run(spec)
    await bench.remove(first.session)
    images = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert [image for image in images if first.session in image] == []


async def test_launcher_asked_to_go_stays_while_a_sandbox_lives(bench: Bench) -> None:
    assert bench.process is not None
    spec = bench.spec("sleep", "60")
    await bench.run(spec)
    bench.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.6)
    assert bench.process.poll() is None
    await bench.client.ask(launch.Stop(session=spec.session, grace_s=0.1), launch.Done)
    for _ in range(100):
        if bench.process.poll() is not None:
            break
        await asyncio.sleep(0.05)
    assert bench.process.poll() == 0
