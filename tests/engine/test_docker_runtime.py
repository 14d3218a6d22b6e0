"""What does the docker runtime say of engines that are not there or are none, and how does it build?"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eleagent.errors import EleAgentError, EngineUnavailable
from eleagent_daemon.domain.sandbox import Phase
from eleagent_daemon.runtime import docker as docker_module
from eleagent_daemon.runtime.docker import DockerRuntime
from eleagent_daemon.runtime.seam import Sandbox

NOBODY = Sandbox("eleagent-s-none-1", "0" * 64)


@pytest.fixture
async def runtime(docker_socket: str) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(socket=docker_socket, installation="test")
    yield runtime
    await runtime.close()


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[Callable[[bytes], Awaitable[DockerRuntime]]]:
    """Makes a runtime whose engine answers every request with the given bytes."""
    servers: list[asyncio.Server] = []
    runtimes: list[DockerRuntime] = []

    async def make(answer: bytes) -> DockerRuntime:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        path = str(tmp_path / f"{len(servers)}.sock")
        servers.append(await asyncio.start_unix_server(serve, path))
        runtimes.append(DockerRuntime(socket=path, installation="test"))
        return runtimes[-1]

    yield make
    for runtime in runtimes:
        await runtime.close()
    for server in servers:
        server.close()


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def test_a_missing_engine_is_said_with_the_way_to_get_one(tmp_path: Path) -> None:
    runtime = DockerRuntime(socket=str(tmp_path / "none.sock"), installation="test")
    with pytest.raises(EngineUnavailable, match=r"no container engine at .*none\.sock.*apt-get install docker\.io"):
        await runtime.describe()
    with pytest.raises(EngineUnavailable, match="no container engine"):
        await runtime.attach(NOBODY)
    assert await runtime.list({}) == ([], False)
    status = await runtime.inspect("eleagent-s-none-1")
    assert status.phase is Phase.LOST
    assert "no container engine" in status.error
    await runtime.close()


async def test_a_dead_engine_is_said_to_be_dead(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    server = await asyncio.start_unix_server(lambda _r, _w: None, str(path))
    server.close()
    assert path.is_socket()
    runtime = DockerRuntime(socket=str(path), installation="test")
    with pytest.raises(EngineUnavailable, match="does not run: start it"):
        await runtime.describe()
    await runtime.close()


async def test_a_file_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    runtime = DockerRuntime(socket=f"unix://{path}", installation="test")
    with pytest.raises(EngineUnavailable, match=r"does not run|is not a container engine's socket"):
        await runtime.describe()
    await runtime.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give up root")
async def test_no_right_to_the_socket_is_said(
    tmp_path: Path, answering: Callable[[bytes], Awaitable[DockerRuntime]]
) -> None:
    runtime = await answering(b"")
    (tmp_path / "0.sock").chmod(0o600)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(EngineUnavailable, match="no right to the container engine"):
            await runtime.describe()
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"",
        http(b"<html>", kind="text/html"),
        http(b"{"),
        http(b"[]"),
        http(b'{"Version": "1", "ApiVersion": null}'),
        http(b"nothing here", "404 Not Found", "text/plain"),
    ],
)
async def test_what_is_no_engine_is_never_taken_for_one(
    answering: Callable[[bytes], Awaitable[DockerRuntime]], answer: bytes
) -> None:
    runtime = await answering(answer)
    with pytest.raises(EleAgentError) as caught:
        await runtime.describe()
    assert "0.sock" in caught.value.message or "could not say its version" in caught.value.message
    assert (await runtime.inspect("x")).phase is Phase.LOST
    assert await runtime.list({}) == ([], False)


async def test_wait_for_an_engine_that_is_away_ends_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_module, "_RETRY_DELAYS_S", (0.01, 0.02))
    runtime = DockerRuntime(socket=str(tmp_path / "none.sock"), installation="test")
    assert (await runtime.wait(NOBODY)).phase is Phase.LOST
    await runtime.close()


@pytest.mark.engine
async def test_describe_and_facts_name_the_engine(runtime: DockerRuntime) -> None:
    assert "(API 1." in await runtime.describe()
    facts = {fact.name: fact for fact in await runtime.facts()}
    assert {"engine", "runc", "cgroup", "seccomp", "users", "storage", "live-restore"} <= set(facts)
    assert facts["seccomp"].level == "ok"
    assert all(fact.fix for fact in facts.values() if fact.level != "ok")


@pytest.fixture
async def reference(runtime: DockerRuntime, docker_socket: str) -> AsyncIterator[str]:
    name = f"eleagent-test/{secrets.token_hex(4)}:1"
    yield name
    if await runtime.images(name):
        reader, writer = await asyncio.open_unix_connection(docker_socket)
        writer.write(f"DELETE /images/{name}?force=1 HTTP/1.0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert b" 200 OK" in answer, answer


@pytest.mark.engine
async def test_build_takes_files_whole_and_executable(runtime: DockerRuntime, reference: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\necho built\n" + b"#" * 5_000_001)
    # Unlike any before it: what a cached step printed is not printed again.
    run = "RUN agent && wc -c </usr/local/bin/agent"
    dockerfile = f"FROM debian:bookworm-slim\nENV ONCE={reference}\nCOPY agent /usr/local/bin/agent\n{run}\n"
    descriptor = os.open(program, os.O_RDONLY)
    try:
        labels = {"io.eleagent.agent": "test", "quote": 'a "b" ä'}
        lines = [line async for line in runtime.build(reference, dockerfile, {"agent": descriptor}, labels)]
    finally:
        os.close(descriptor)
    assert "built" in lines
    assert str(program.stat().st_size) in lines
    (image,) = await runtime.images(reference)
    assert (image.reference, image.labels) == (reference, labels)
    assert image.image_id.startswith("sha256:")
    assert image.image_id in {one.image_id for one in await runtime.images("")}
    assert [one.image_id for one in await runtime.images(image.image_id)] == [image.image_id]


@pytest.mark.engine
@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM debian:bookworm-slim\nRUN echo hopeless && exit 9\n", r"exit 9.*Step 2/2 : RUN echo hopeless.*hopeless"),
        ("FROM debian:bookworm-slim\nNONSENSE\n", "(?i)unknown instruction: NONSENSE"),
    ],
)
async def test_build_names_the_line_that_failed(
    runtime: DockerRuntime, reference: str, dockerfile: str, said: str
) -> None:
    with pytest.raises(EleAgentError, match=said):
        async for _ in runtime.build(reference, dockerfile, {}, {}):
            pass
    assert await runtime.images(reference) == []
