"""Does a runtime keep the seam's contract? The same tests for the fake one and for a Docker engine."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import Conflict, EleAgentError, ImageMissing
from eleagent_daemon.agents.files import get_image_name
from eleagent_daemon.domain.sandbox import (
    ARTEFACTS_DIR,
    GATE_WORD,
    HOME_DIR,
    LABEL,
    WORKSPACE_DIR,
    Doors,
    Limits,
    Person,
    Phase,
    Placement,
    SandboxSpec,
)
from eleagent_daemon.runtime.bubblewrap import BubblewrapRuntime
from eleagent_daemon.runtime.docker import DockerRuntime
from eleagent_daemon.runtime.fake import FakeEngine, FakeRuntime
from eleagent_daemon.runtime.seam import Chunk, Cursor, InputChannel, Runtime, Sandbox

BASE_IMAGE = "debian:bookworm-slim"
NO_IMAGE = "sha256:" + "0" * 64
PATH = "/usr/local/bin:/usr/bin:/bin"

BINARY = bytes(range(256)) * 33 + b"\xff\xfe\n\r\n\x00\x1b[31m\xc3\x28"
"""Every byte, UTF-8 that is none, and no newline at its end."""


@dataclass
class Bench:
    """A runtime, the means to make a second one on the same engine, and what was made with them."""

    connect: Callable[[], Runtime]
    image: str
    installation: str
    placement: Placement
    runtime: Runtime
    connected: list[Runtime] = field(default_factory=list)
    made: set[str] = field(default_factory=set)

    def another(self) -> Runtime:
        self.connected.append(self.connect())
        return self.connected[-1]

    def spec(self, *argv: str, **changes: Any) -> SandboxSpec:
        spec = SandboxSpec(
            session="s-" + secrets.token_hex(5),
            installation=self.installation,
            attempt=1,
            image=self.image,
            argv=argv,
            env={"PATH": PATH},
            uid=10001,
            stdin=True,
            doors=Doors(),
        )
        return msgspec.structs.replace(spec, **changes)

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.made.add(spec.name)
        return await self.runtime.create(spec, self.placement)

    async def running(self, spec: SandboxSpec) -> tuple[Sandbox, AsyncIterator[Chunk], InputChannel]:
        """Created, attached to, started, its gate closed."""
        sandbox = await self.create(spec)
        output, channel = await self.runtime.attach(sandbox)
        await self.runtime.start(sandbox)
        return sandbox, output, channel


@pytest.fixture(
    params=[
        "fake",
        pytest.param("docker", marks=pytest.mark.engine),
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
    ]
)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    installation = "test-" + secrets.token_hex(4)
    writable = {}
    for target in (WORKSPACE_DIR, ARTEFACTS_DIR, HOME_DIR):
        folder = tmp_path / target.strip("/").replace("/", "-")
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        writable[target] = str(folder)
    connect: Callable[[], Runtime]
    if request.param == "docker":
        socket = request.getfixturevalue("docker_socket")
        connect = lambda: DockerRuntime(socket=socket, installation=installation)  # noqa: E731
    elif request.param == "bubblewrap":
        connect = lambda: BubblewrapRuntime(state=tmp_path / "state", installation=installation)  # noqa: E731
    else:
        (tmp_path / "engine").mkdir()
        engine = FakeEngine(tmp_path / "engine", images={BASE_IMAGE})
        connect = lambda: FakeRuntime(engine=engine, installation=installation)  # noqa: E731
    runtime = connect()
    reference = get_image_name("command").reference if request.param == "bubblewrap" else BASE_IMAGE
    image = (await runtime.images(reference))[0].image_id
    person = Person(os.getuid(), os.getgid()) if os.getuid() else None
    bench = Bench(connect, image, installation, Placement(writable=writable, readonly={}, person=person), runtime)
    yield bench
    for name in bench.made:
        await runtime.remove(name)
    for one in (runtime, *bench.connected):
        await one.close()


docker_only = pytest.mark.parametrize("bench", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True)


async def collect(output: AsyncIterator[Chunk]) -> dict[str, bytes]:
    found = {"out": bytearray(), "err": bytearray()}
    async for chunk in output:
        assert not chunk.gap
        found[chunk.stream] += chunk.data
    return {stream: bytes(data) for stream, data in found.items()}


async def run(bench: Bench, *argv: str, **changes: Any) -> tuple[dict[str, bytes], Sandbox]:
    sandbox, output, channel = await bench.running(bench.spec(*argv, **changes))
    await channel.write(GATE_WORD)
    found = await collect(output)
    await bench.runtime.wait(sandbox)
    await channel.close()
    return found, sandbox


async def soon(true: Callable[[], Awaitable[bool]], limit_s: float = 5.0) -> bool:
    async with asyncio.timeout(limit_s):
        while not await true():
            await asyncio.sleep(0.02)
    return True


async def test_gate_is_closed_until_the_word(bench: Bench) -> None:
    mark = Path(bench.placement.writable[ARTEFACTS_DIR], "ran")
    folder = str(mark.parent) if bench.runtime.name == "fake" else ARTEFACTS_DIR
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", f"touch {folder}/ran; echo done"))
    await asyncio.sleep(0.3)
    assert (await bench.runtime.inspect(sandbox.name)).phase is Phase.RUNNING
    assert not mark.exists()
    await channel.write(GATE_WORD)
    assert await collect(output) == {"out": b"done\n", "err": b""}
    assert mark.exists()
    await channel.close()


async def test_gate_does_not_open_when_its_writer_goes(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("echo", "ran past"))
    await channel.close()
    assert await collect(output) == {"out": b"", "err": b""}
    await asyncio.sleep(0.3)
    assert (await bench.runtime.inspect(sandbox.name)).phase is Phase.RUNNING
    output, channel = await bench.another().replay(sandbox, Cursor())
    await channel.write(GATE_WORD)
    assert (await collect(output))["out"] == b"ran past\n"
    await channel.close()


async def test_gate_refuses_another_word(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("echo", "ran past"))
    await channel.write(b"gone\n")
    assert (await collect(output))["out"] == b""
    assert (await bench.runtime.wait(sandbox)).exit_code == 125
    await channel.close()


@pytest.mark.parametrize("code", [0, 3, 125])
async def test_wait_gives_the_exit_code(bench: Bench, code: int) -> None:
    _, sandbox = await run(bench, "/bin/sh", "-c", f"exit {code}")
    status = await bench.another().wait(sandbox)
    assert (status.phase, status.exit_code, status.oom) == (Phase.EXITED, code, False)


async def test_wait_returns_when_it_ends_and_not_before(bench: Bench) -> None:
    sandbox, _, channel = await bench.running(bench.spec("cat"))
    await channel.write(GATE_WORD)
    waiting = asyncio.create_task(bench.runtime.wait(sandbox))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await bench.runtime.kill(sandbox)
    assert (await waiting).exit_code == 128 + signal.SIGKILL
    await channel.close()


async def test_wait_answers_for_what_was_never_started_and_what_is_gone(bench: Bench) -> None:
    sandbox = await bench.create(bench.spec("true"))
    assert (await bench.runtime.wait(sandbox)).phase is Phase.CREATED
    await bench.runtime.remove(sandbox.name)
    assert (await bench.runtime.wait(sandbox)).phase is Phase.GONE


async def test_signal_reaches_the_agent(bench: Bench) -> None:
    script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", script))
    await channel.write(GATE_WORD)
    seen = b""
    async for chunk in output:
        if b"ready" in chunk.data:
            await bench.runtime.signal(sandbox, signal.SIGTERM)
        seen += chunk.data
    assert seen == b"ready\ncaught\n"
    assert (await bench.runtime.wait(sandbox)).exit_code == 7
    await bench.runtime.signal(sandbox, signal.SIGTERM)
    await channel.close()


async def test_output_is_byte_exact_through_attach_and_replay(bench: Bench) -> None:
    text = "".join(f"\\{byte:03o}" for byte in BINARY)
    found, sandbox = await run(bench, "/bin/bash", "-c", f"printf '{text}'; printf 'error \\377' >&2")
    assert found == {"out": BINARY, "err": b"error \xff"}
    output, channel = await bench.another().replay(sandbox, Cursor())
    assert await collect(output) == found
    await channel.close()


async def test_ten_megabytes_on_one_line_arrive_whole(bench: Bench) -> None:
    script = "import sys; sys.stdout.buffer.write(b'x' * 10_000_000 + b'\\xff\\n')"
    found, sandbox = await run(bench, "python3", "-c", script)
    expected = b"x" * 10_000_000 + b"\xff\n"
    assert found["out"] == expected
    output, channel = await bench.another().replay(sandbox, Cursor(out=9_999_990))
    assert (await collect(output))["out"] == expected[9_999_990:]
    await channel.close()


async def test_lines_as_long_as_a_piece_of_the_log_are_replayed_exactly(bench: Bench) -> None:
    sizes = [16383, 16384, 16385, 32768, 0, 1, 65536]
    script = f"import sys; [sys.stdout.buffer.write(b'y' * n + b'\\n') for n in {sizes}]"
    found, sandbox = await run(bench, "python3", "-c", script)
    assert found["out"] == b"".join(b"y" * size + b"\n" for size in sizes)
    output, channel = await bench.another().replay(sandbox, Cursor())
    assert await collect(output) == found
    await channel.close()


async def test_a_long_line_is_replayed_with_its_newline_while_the_program_runs(bench: Bench) -> None:
    script = "import sys; print('z' * 40_000, flush=True); sys.stdin.readline(); print('end', end='')"
    sandbox, _, channel = await bench.running(bench.spec("python3", "-c", script))
    await channel.write(GATE_WORD)
    output, second = await bench.another().replay(sandbox, Cursor(out=39_999))
    seen = b""
    async for chunk in output:
        seen += chunk.data
        if seen == b"z\n":
            await second.write(b"on\n")
    assert seen == b"z\nend"
    await channel.close()
    await second.close()


async def test_a_long_line_without_newline_is_not_given_one_when_all_of_it_was_taken(bench: Bench) -> None:
    found, sandbox = await run(bench, "/bin/sh", "-c", "head -c 40000 /dev/zero")
    output, channel = await bench.another().replay(sandbox, Cursor(out=len(found["out"])))
    assert await collect(output) == {"out": b"", "err": b""}
    await channel.close()


INTERLEAVED = """
import os
for i in range(3000):
    os.write(1, b"out %d " % i + bytes([i % 256]) * (i % 97) + (b"\\n" if i % 3 else b""))
    os.write(2, b"err %d " % i + bytes([255 - i % 256]) * (i % 89) + (b"\\n" if i % 5 else b""))
    if i == 1500:
        os.read(0, 3)
"""


def interleaved() -> dict[str, bytes]:
    out = [b"out %d " % i + bytes([i % 256]) * (i % 97) + (b"\n" if i % 3 else b"") for i in range(3000)]
    err = [b"err %d " % i + bytes([255 - i % 256]) * (i % 89) + (b"\n" if i % 5 else b"") for i in range(3000)]
    return {"out": b"".join(out), "err": b"".join(err)}


async def test_a_new_runtime_goes_on_where_the_first_was_dropped(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("python3", "-c", INTERLEAVED))
    await channel.write(GATE_WORD)
    taken = {"out": b"", "err": b""}
    async with aclosing(output) as chunks:
        async for chunk in chunks:
            taken[chunk.stream] += chunk.data
            if len(taken["out"]) > 20_000 and len(taken["err"]) > 20_000:
                break
    await channel.close()
    await bench.runtime.close()

    second = bench.another()
    output, channel = await second.replay(sandbox, Cursor(len(taken["out"]), len(taken["err"])))
    await channel.write(b"on\n")
    rest = await collect(output)
    assert {stream: taken[stream] + rest[stream] for stream in ("out", "err")} == interleaved()
    assert (await second.wait(sandbox)).exit_code == 0
    await channel.close()


async def test_input_that_was_written_while_nobody_read_is_kept(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("cat"))
    await channel.write(GATE_WORD)
    await channel.write(b"first \xff\n")
    await channel.close()
    _, writer = await bench.another().replay(sandbox, Cursor())
    await writer.write(b"second\n")
    await writer.close()
    output, channel = await bench.another().replay(sandbox, Cursor())
    seen = b""
    async with aclosing(output) as chunks:
        async for chunk in chunks:
            seen += chunk.data
            if seen.count(b"\n") == 2:
                break
    assert seen == b"first \xff\nsecond\n"
    await channel.write(b"third\n")
    await bench.runtime.kill(sandbox)
    await bench.runtime.wait(sandbox)
    with pytest.raises(ConnectionError):
        await channel.write(b"too late\n")
    await channel.close()


async def test_large_input_arrives_whole(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", "head -c 5000000 | cksum"))
    message = bytes(range(250)) * 20_000
    await channel.write(GATE_WORD + message)
    expected = subprocess.run(["cksum"], input=message, capture_output=True, check=True).stdout
    assert (await collect(output))["out"] == expected
    await bench.runtime.wait(sandbox)
    with pytest.raises(ConnectionError):
        await channel.write(b"too late\n")
    await channel.close()


async def test_input_to_what_ended_is_an_error_after_replay_too(bench: Bench) -> None:
    _, sandbox = await run(bench, "true")
    output, channel = await bench.another().replay(sandbox, Cursor())
    assert await collect(output) == {"out": b"", "err": b""}
    with pytest.raises(ConnectionError):
        await channel.write(b"too late\n")
    await channel.close()


async def test_without_stdin_the_program_reads_nothing(bench: Bench) -> None:
    found, _ = await run(bench, "/bin/sh", "-c", "cat; echo end", stdin=False)
    assert found["out"] == b"end\n"


async def test_create_and_start_are_idempotent(bench: Bench) -> None:
    spec = bench.spec("cat")
    first = await bench.create(spec)
    assert await bench.another().create(spec, bench.placement) == first
    assert (await bench.runtime.inspect(spec.name)).phase is Phase.CREATED
    await bench.runtime.start(first)
    pid = (await bench.runtime.inspect(spec.name)).pid
    await bench.runtime.start(first)
    assert (await bench.runtime.inspect(spec.name)).pid == pid > 0
    assert await bench.runtime.create(spec, bench.placement) == first


async def test_create_refuses_a_name_that_is_anothers(bench: Bench) -> None:
    spec = bench.spec("cat")
    await bench.create(spec)
    with pytest.raises(Conflict, match=spec.name):
        await bench.runtime.create(msgspec.structs.replace(spec, installation="other"), bench.placement)


async def test_create_says_which_command_builds_a_missing_image(bench: Bench) -> None:
    with pytest.raises(ImageMissing, match="eleagent image build"):
        await bench.create(bench.spec("true", image=NO_IMAGE))


async def test_remove_is_idempotent_and_complete(bench: Bench) -> None:
    sandbox, _, channel = await bench.running(bench.spec("sleep", "100"))
    pids = (await bench.runtime.view(sandbox)).pids
    await bench.runtime.remove(sandbox.name)
    assert (await bench.runtime.inspect(sandbox.name)).phase is Phase.GONE
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    await bench.runtime.remove(sandbox.name)
    await channel.close()


async def test_pids_are_all_processes_init_first(bench: Bench) -> None:
    sandbox, _, channel = await bench.running(bench.spec("/bin/sh", "-c", "sleep 50 & sleep 51 & wait"))
    await channel.write(GATE_WORD)
    init = (await bench.runtime.inspect(sandbox.name)).pid
    least = 3 if bench.runtime.name == "fake" else 4

    async def all_there() -> bool:
        pids = (await bench.runtime.view(sandbox)).pids
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
        return len(pids) == least and pids[0] == init and {b"sleep\x0050\x00", b"sleep\x0051\x00"} <= set(lines)

    assert await soon(all_there)
    await bench.runtime.kill(sandbox)
    await bench.runtime.wait(sandbox)
    assert (await bench.runtime.view(sandbox)).pids == []
    await channel.close()


TICKS = "while :; do echo tick; sleep 0.02; done"


async def ticking(bench: Bench) -> tuple[Sandbox, list[bytes], asyncio.Task[None]]:
    """A program that says something all the time, what it said so far, and who listens."""
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", TICKS))
    await channel.write(GATE_WORD)
    heard: list[bytes] = []

    async def listen() -> None:
        async for chunk in output:
            heard.append(chunk.data)  # noqa: PERF401 - it is looked at meanwhile

    task = asyncio.create_task(listen())
    await soon(lambda: _true(bool(heard)))
    return sandbox, heard, task


async def _true(value: bool) -> bool:
    return value


async def test_pause_stops_every_process_and_unpause_lets_them_go_on(bench: Bench) -> None:
    sandbox, heard, task = await ticking(bench)
    for _ in range(2):
        await bench.runtime.pause(sandbox)
    assert (await bench.another().inspect(sandbox.name)).phase is Phase.PAUSED
    await asyncio.sleep(0.2)
    before = len(heard)
    await asyncio.sleep(0.5)
    assert len(heard) == before
    for _ in range(2):
        await bench.runtime.unpause(sandbox)
    assert (await bench.runtime.inspect(sandbox.name)).phase is Phase.RUNNING
    assert await soon(lambda: _true(len(heard) > before))
    await bench.runtime.kill(sandbox)
    await task


async def test_pause_stops_what_starts_a_program_at_that_moment(bench: Bench) -> None:
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", "while :; do /bin/true; done"))
    await channel.write(GATE_WORD)
    for moment in range(40):
        await asyncio.sleep(moment / 2000)
        await bench.runtime.pause(sandbox)
        await bench.runtime.unpause(sandbox)
    await bench.runtime.kill(sandbox)
    assert [chunk async for chunk in output] == []


async def test_kill_and_remove_of_a_paused_sandbox_end_it(bench: Bench) -> None:
    for end in (bench.runtime.kill, lambda sandbox: bench.runtime.remove(sandbox.name)):
        sandbox, _, task = await ticking(bench)
        await bench.runtime.pause(sandbox)
        await end(sandbox)
        assert (await bench.runtime.wait(sandbox)).phase in (Phase.EXITED, Phase.GONE)
        await task


async def test_pause_of_what_ended_is_refused_and_unpause_is_nothing(bench: Bench) -> None:
    _, sandbox = await run(bench, "true")
    await bench.runtime.wait(sandbox)
    with pytest.raises(EleAgentError):
        await bench.runtime.pause(sandbox)
    await bench.runtime.unpause(sandbox)


async def test_list_holds_every_sandbox_of_the_installation(bench: Bench) -> None:
    created = await bench.create(bench.spec("cat"))
    running, _, channel = await bench.running(bench.spec("cat", attempt=4))
    _, exited = await run(bench, "true")
    entries, complete = await bench.runtime.list({})
    assert complete
    found = {f"eleagent-{entry.session}-{entry.attempt}": entry.phase for entry in entries}
    assert found == {created.name: "created", running.name: "running", exited.name: "exited"}
    session = running.name.split("-", 1)[1].rpartition("-")[0]
    entries, _ = await bench.runtime.list({f"{LABEL}.session": session})
    assert [entry.attempt for entry in entries] == [4]
    await channel.close()


@docker_only
async def test_view_names_the_image_by_digest(bench: Bench) -> None:
    sandbox = await bench.create(bench.spec("cat"))
    view = (await bench.runtime.view(sandbox)).applied
    assert view["image"] == bench.image
    assert view["readonly_rootfs"] == "true"
    assert view["network"] == "none"
    assert view["log_driver"] == "local"
    assert "no-new-privileges" in view["security_opt"]


@docker_only
async def test_memory_bomb_is_told_as_oom(bench: Bench) -> None:
    limits = Limits(memory_bytes=64 << 20)
    _, sandbox = await run(bench, "python3", "-c", "bytearray(300 << 20)", limits=limits)
    status = await bench.runtime.wait(sandbox)
    assert (status.exit_code, status.oom) == (137, True)


@docker_only
async def test_a_reader_that_stops_stops_the_writer(bench: Bench) -> None:
    script = "i=0; while [ $i -lt 400 ]; do head -c 100000 /dev/zero; i=$((i+1)); echo $i > /artefacts/count; done"
    _, output, channel = await bench.running(bench.spec("/bin/sh", "-c", script))
    await channel.write(GATE_WORD)
    first = await anext(output)
    await asyncio.sleep(2)
    count = int(Path(bench.placement.writable[ARTEFACTS_DIR], "count").read_text())
    assert 0 < count < 100
    rest = await collect(output)
    assert len(first.data) + len(rest["out"]) == 40_000_000
    await channel.close()


@docker_only
async def test_a_log_that_lost_its_beginning_is_told_as_a_gap(bench: Bench) -> None:
    script = "head -c 40000000 /dev/zero | tr '\\0' 'z' | fold -w 1000; read -r l; echo $l"
    sandbox, output, channel = await bench.running(bench.spec("/bin/sh", "-c", script))
    await channel.write(GATE_WORD)
    async with aclosing(output) as chunks:
        taken = 0
        async for chunk in chunks:
            taken += len(chunk.data)
            if taken >= 40_000_000 + 39_999:
                break
    await channel.close()
    output, channel = await bench.another().replay(sandbox, Cursor(out=1000))
    gap = await anext(output)
    assert (gap.gap, gap.gap_bytes, gap.data) == (True, None, b"")
    rest = asyncio.create_task(anext(output))
    await asyncio.sleep(0.5)
    await channel.write(b"live\n")
    assert (await rest).data.endswith(b"live\n")
    await output.aclose()
    await channel.close()


async def post(socket: str, path: str) -> None:
    reader, writer = await asyncio.open_unix_connection(socket)
    writer.write(f"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
    assert b" 204 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


@docker_only
async def test_replay_of_a_paused_sandbox_gives_its_output(bench: Bench, docker_socket: str) -> None:
    sandbox, _, channel = await bench.running(bench.spec("/bin/sh", "-c", "echo before; exec cat"))
    await channel.write(GATE_WORD)
    await asyncio.sleep(0.3)
    await channel.close()
    await post(docker_socket, f"/containers/{sandbox.id}/pause")
    assert (await bench.runtime.inspect(sandbox.name)).phase is Phase.PAUSED
    output, channel = await bench.another().replay(sandbox, Cursor())
    assert await anext(output) == Chunk("out", b"before\n")
    with pytest.raises(ConnectionError, match="paused"):
        await channel.write(b"x\n")
    await post(docker_socket, f"/containers/{sandbox.id}/unpause")
    await channel.write(b"after\n")
    assert await anext(output) == Chunk("out", b"after\n")
    await output.aclose()
    await channel.close()
