"""Do daemon and launcher understand each other, and is a stranger kept out?"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import BadRequest, LauncherUnavailable, NotFound, TooLarge, VersionSkew
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.channel import receive, send
from eleagent_daemon.launcher.server import Server
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.sessions.launchclient import LauncherClient

KEY = "s-abcdefghij"


@dataclass
class Launcher:
    """A server with a few verbs of its own."""

    path: Path
    owner: int = field(default_factory=os.getuid)
    written: bytes = b""
    beats: list[launch.Heartbeat] = field(default_factory=list)
    lost: int = 0
    tasks: Tasks = field(default_factory=Tasks)
    protocol: int = launch.PROTOCOL

    def __post_init__(self) -> None:
        self.server = Server(path=self.path, owner=self.owner, tasks=self.tasks, on_lost=self._lost)
        handlers = {
            launch.Hello: self.hello,
            launch.Write: self.write,
            launch.OpenDoors: self.echo,
            launch.Inspect: self.fail,
            launch.Signal: self.hang,
            launch.Heartbeat: self.beat,
        }
        self.server.start(handlers)

    def _lost(self) -> None:
        self.lost += 1

    async def hello(self, verb: launch.Hello, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        if verb.protocol != self.protocol:
            raise VersionSkew("another protocol")
        return launch.Greeting(
            protocol=1, version="0", pid=os.getpid(), privileged=False, runtime="none", engine=""
        ), ()

    async def write(self, verb: launch.Write, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        self.written += verb.data
        return launch.Done(), ()

    async def beat(self, verb: launch.Heartbeat, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        self.beats.append(verb)
        return launch.Done(), ()

    async def echo(self, verb: launch.OpenDoors, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        return launch.DoorSet(verb.held), fds

    async def fail(self, verb: launch.Inspect, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        raise NotFound("no such sandbox", session=verb.session)

    async def hang(self, verb: launch.Signal, fds: list[int]) -> tuple[launch.AnyAnswer, Sequence[int]]:
        await asyncio.sleep(60)
        return launch.Done(), ()


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[LauncherClient]:
    client = LauncherClient(socket_path=path, version="0")
    running = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[Launcher]:
    launcher = Launcher(tmp_path / "sock")
    yield launcher
    launcher.server.close()
    await launcher.tasks.close()


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_launch_socket_is_its_owners_alone(launcher: Launcher) -> None:
    assert launcher.path.stat().st_mode & 0o777 == 0o600


async def test_launch_pieces_arrive_in_order(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        pieces = [bytes([number]) * launch.CHUNK_BYTES for number in range(16)]
        calls = [
            client.ask(launch.Write(session=KEY, message="m", data=piece, last=False), launch.Done) for piece in pieces
        ]
        await asyncio.gather(*calls)
        assert launcher.written == b"".join(pieces)


async def test_launch_heartbeat_of_before_the_connection_is_its_first_word(launcher: Launcher) -> None:
    beat = launch.Heartbeat(recording=True, grace_s=0.5, pause_on_loss=True)
    async with client_of(launcher.path) as client:
        client.beat(beat)
        assert client.greeting is None
        await client.ask(launch.Write(session=KEY, message="m", data=b"x", last=True), launch.Done)
        assert launcher.beats == [beat]


async def test_launch_descriptors_cross_both_ways_and_none_is_left(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        before = open_fds()
        reader, writer = os.pipe()
        answer, received = await client.call(launch.OpenDoors(session=KEY, held=["tunnel"]), [writer])
        assert answer == launch.DoorSet(["tunnel"])
        os.write(received[0], b"through")
        assert os.read(reader, 99) == b"through"
        # Descriptors that a verb does not want, and an answer's that nobody wants, are closed.
        await client.ask(launch.Write(session=KEY, message="m", data=b"", last=True), launch.Done, [writer, reader])
        for fd in (reader, writer, *received):
            os.close(fd)
        assert open_fds() == before


async def test_launch_errors_come_back_as_themselves(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        with pytest.raises(NotFound, match="no such sandbox") as caught:
            await client.call(launch.Inspect(session=KEY))
        assert caught.value.fields == {"session": KEY}


@pytest.mark.parametrize("session", ["../../etc", "s-ABCDEFGHIJ", "", "s-abcdefghij/x"])
async def test_launch_session_that_is_no_key_is_refused(launcher: Launcher, session: str) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        with pytest.raises(BadRequest, match="no session key"):
            await client.call(launch.Write(session=session, message="m", data=b"x", last=True))
        assert launcher.written == b""


async def test_launch_message_over_the_limit_is_refused_before_it_is_sent(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        with pytest.raises(TooLarge):
            await client.call(launch.Write(session=KEY, message="m", data=bytes(launch.MESSAGE_LIMIT_BYTES), last=True))
        await client.ask(launch.Write(session=KEY, message="m", data=b"fine", last=True), launch.Done)


async def test_launch_other_protocol_is_said(launcher: Launcher) -> None:
    launcher.protocol = 2
    async with client_of(launcher.path) as client:
        with pytest.raises(LauncherUnavailable, match="another protocol"):
            await client.ready(0.3)


async def test_launch_verb_before_hello_is_refused(launcher: Launcher) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.setblocking(False)
        sock.connect(str(launcher.path))
        send(sock, msgspec.json.encode(launch.Write(id=7, session=KEY, message="m", data=b"x", last=True)))
        await asyncio.sleep(0.05)
        reply = msgspec.json.decode(receive(sock)[0], type=launch.AnyMessage)
    assert isinstance(reply, launch.Reply)
    assert (reply.id, reply.answer) == (7, launch.Failed("bad_request", "hello comes first"))
    assert launcher.written == b""


async def test_launch_nonsense_is_answered_and_harms_nobody(launcher: Launcher) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.setblocking(False)
        sock.connect(str(launcher.path))
        send(sock, b'{"verb": "format_disk"}')
        await asyncio.sleep(0.05)
        reply = msgspec.json.decode(receive(sock)[0], type=launch.AnyMessage)
    assert isinstance(reply, launch.Reply)
    assert isinstance(reply.answer, launch.Failed)
    async with client_of(launcher.path) as client:
        assert await client.ready(2)


async def test_launch_newer_connection_replaces_the_older(launcher: Launcher) -> None:
    async with client_of(launcher.path) as first:
        await first.ready(2)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(str(launcher.path))
            await asyncio.sleep(0.01)
            assert launcher.lost == 1
            assert first.greeting is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_launch_other_user_is_turned_away(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path / "sock", owner=12345)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    launcher.path.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        # The exit code says what the stranger saw: 0 the end of the connection, 1 anything else.
        code = 1
        try:
            os.setuid(54321)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.settimeout(5)
                sock.connect(str(launcher.path))
                code = 0 if sock.recv(1) == b"" else 1
        finally:
            os._exit(code)
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        await asyncio.sleep(0.01)
    launcher.server.close()
    assert os.waitstatus_to_exitcode(ended[1]) == 0


async def test_launch_client_tells_its_listeners_of_a_new_connection(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        with client.notices(KEY) as notices:
            launcher.server.notify(launch.Notice(session=KEY, spooled=5))
            launcher.server.notify(launch.Notice(session=KEY, spooled=9))
            assert (await notices.next()).spooled == 9
            launcher.server.close()
            await asyncio.sleep(0.01)
            with pytest.raises(LauncherUnavailable):
                await client.call(launch.Inspect(session=KEY))
            again = Launcher(launcher.path)
            assert await asyncio.wait_for(notices.next(), 2) == launch.Notice(session=KEY)
            again.server.close()


async def test_launch_call_under_way_fails_when_the_launcher_dies(launcher: Launcher) -> None:
    async with client_of(launcher.path) as client:
        await client.ready(2)
        call = asyncio.create_task(client.call(launch.Signal(session=KEY, signum=15)))
        await asyncio.sleep(0.05)
        launcher.server.close()
        with pytest.raises(LauncherUnavailable):
            await asyncio.wait_for(call, 2)
