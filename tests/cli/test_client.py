"""Do both clients say and understand the same, and lose nothing when the daemon goes away?"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eleagent.client.address import UnixSocket
from eleagent.client.aio import AsyncClient
from eleagent.client.api import Client
from eleagent.client.exchange import StreamBroken, request_for
from eleagent.errors import DaemonUnreachable, EleAgentError, NotFound, VersionSkew
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent
from eleagent.wire.sessions import SessionDetail, SessionStop, State
from eleagent.wire.timeline import Event, Notice

from .fakedaemon import KEY, Break, Call, FakeDaemon, FakeSession, created, ended

Follow = Callable[..., list[int]]


def follow_sync(daemon: FakeDaemon, after: int = 0, patience_s: float = 10) -> list[int]:
    items = Client(at=UnixSocket(str(daemon.path)), patience_s=patience_s).follow(KEY, after=after)
    return [item.seq for item in items if isinstance(item, Event)]


def follow_async(daemon: FakeDaemon, after: int = 0, patience_s: float = 10) -> list[int]:
    async def follow() -> list[int]:
        async with AsyncClient(at=UnixSocket(str(daemon.path)), patience_s=patience_s) as client:
            return [item.seq async for item in client.follow(KEY, after=after) if isinstance(item, Event)]

    return asyncio.run(follow())


@pytest.fixture(params=[follow_sync, follow_async])
def follow(request: pytest.FixtureRequest) -> Follow:
    chosen: Follow = request.param
    return chosen


def serve(daemon: FakeDaemon, count: int = 10) -> FakeSession:
    session = FakeSession(created(), *[ev.AgentMessage(f"{number}") for number in range(count - 2)], ended())
    daemon.scripts |= session.scripts()
    return session


@pytest.mark.parametrize("after", [0, 4, 10])
def test_follow_gives_each_event_after_a_seq_once(daemon: FakeDaemon, follow: Follow, after: int) -> None:
    serve(daemon)
    assert follow(daemon, after) == list(range(after + 1, 11))


def test_follow_resumes_a_torn_stream_without_loss_or_repeat(daemon: FakeDaemon, follow: Follow) -> None:
    session = serve(daemon)

    def torn(call: Call) -> Iterator[Any]:
        after = int(call.query["after"])
        match len(daemon.called(BY_ID["session_events"])):
            case 1:
                yield from session.events[:3]
                raise Break
            case 2:
                yield b'{"seq": 4, "ts": "half a line'
                raise Break
            case 3:  # a daemon that ends cleanly, begins too early and goes on too soon
                yield from session.events[:5]
            case 4:
                yield session.events[7]
            case _:
                yield from session.events[after:]

    daemon.scripts["session_events"] = torn
    assert follow(daemon) == list(range(1, 11))
    assert [call.query["after"] for call in daemon.called(BY_ID["session_events"])] == ["0", "3", "3", "5", "5"]


def test_follow_waits_for_a_daemon_that_restarts(daemon: FakeDaemon, follow: Follow) -> None:
    session = serve(daemon)

    def once(call: Call) -> Iterator[Any]:
        if call.query["after"] == "0":
            yield from session.events[:5]
            threading.Thread(target=restart).start()
            raise Break
        yield from session.events[int(call.query["after"]) :]

    def restart() -> None:
        daemon.stop()
        time.sleep(0.6)
        daemon.start()

    daemon.scripts["session_events"] = once
    assert follow(daemon) == list(range(1, 11))


def test_follow_gives_up_on_a_daemon_that_stays_away(daemon: FakeDaemon, follow: Follow) -> None:
    daemon.stop()
    started = time.monotonic()
    with pytest.raises(DaemonUnreachable, match="eleagent daemon run"):
        follow(daemon, patience_s=0.4)
    assert 0.4 < time.monotonic() - started < 4


def test_follow_does_not_retry_a_refusal(daemon: FakeDaemon, follow: Follow) -> None:
    def refuse(_call: Call) -> None:
        raise NotFound("no session 'x'")

    daemon.scripts["session_events"] = refuse
    with pytest.raises(NotFound, match="no session"):
        follow(daemon)
    assert len(daemon.called(BY_ID["session_events"])) == 1


def test_follow_raises_what_an_error_notice_says(daemon: FakeDaemon, follow: Follow) -> None:
    daemon.scripts["session_events"] = lambda call: [Notice("error", text="the timeline is damaged")]
    with pytest.raises(EleAgentError, match="the timeline is damaged"):
        follow(daemon)


def test_follow_ends_where_a_lost_session_has_no_last_event(daemon: FakeDaemon, follow: Follow) -> None:
    import msgspec

    session = FakeSession(created(), ev.SessionStarted())
    daemon.scripts |= session.scripts()
    lost = msgspec.structs.replace(session.session, state=State.LOST)
    daemon.scripts["session_get"] = lambda call: SessionDetail(session=lost)
    assert follow(daemon) == [1, 2]


def test_follow_reads_a_line_of_many_pieces(daemon: FakeDaemon, follow: Follow) -> None:
    session = FakeSession(created(), ev.AgentMessage("x" * 3_000_000), ended())
    daemon.scripts |= session.scripts()
    assert follow(daemon) == [1, 2, 3]


def test_stream_that_breaks_off_is_no_end(daemon: FakeDaemon) -> None:
    def torn(_call: Call) -> Iterator[Any]:
        yield Event(1, "t", "session.started", ev.Provenance.OBSERVED, {})
        raise Break

    daemon.scripts["session_events"] = torn
    with pytest.raises(StreamBroken):
        list(Client(at=UnixSocket(str(daemon.path))).stream(BY_ID["session_events"], key=KEY))


def test_download_that_breaks_off_is_no_end(daemon: FakeDaemon) -> None:
    def torn(_call: Call) -> Iterator[bytes]:
        yield b"half"
        raise Break

    daemon.scripts["artefact_get"] = torn
    with pytest.raises(StreamBroken):
        list(Client(at=UnixSocket(str(daemon.path))).download(BY_ID["artefact_get"], query={"path": "x"}, key=KEY))


def test_upload_sends_the_file(daemon: FakeDaemon, tmp_path: Any) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\x7fELF" * 100_000)
    daemon.scripts["agent_install"] = lambda call: Agent(name=call.path["name"], adapter="claude", image="i")
    with path.open("rb") as file:
        client = Client(at=UnixSocket(str(daemon.path)))
        agent = client.upload(BY_ID["agent_install"], file, size_bytes=400_000, name="claude")
    assert agent.name == "claude"
    assert daemon.calls[0].body == path.read_bytes()


async def test_async_client_calls_downloads_and_raises_like_the_other(daemon: FakeDaemon) -> None:
    session = FakeSession(created(), ended(), artefacts={"a/b": b"content"})
    daemon.scripts |= session.scripts()
    async with AsyncClient(at=UnixSocket(str(daemon.path))) as client:
        detail = await client.call(BY_ID["session_get"], key="@")
        assert detail.session.key == KEY
        assert [piece async for piece in client.download(BY_ID["artefact_get"], query={"path": "a/b"}, key=KEY)] == [
            b"content"
        ]
        with pytest.raises(NotFound):
            await client.call(BY_ID["status"])
        daemon.version = "7.0.0"
        with pytest.raises(VersionSkew):
            await client.call(BY_ID["session_get"], key="@")


def test_key_cannot_lead_to_another_route(daemon: FakeDaemon) -> None:
    session = serve(daemon)
    daemon.scripts |= session.scripts()
    Client(at=UnixSocket(str(daemon.path))).call(BY_ID["session_get"], key="../../x?y#z")
    assert daemon.calls[0].path == {"key": "../../x?y#z"}


def test_request_refuses_what_the_table_does_not_have() -> None:
    with pytest.raises(TypeError, match="no query parameter"):
        request_for(BY_ID["status"], body=None, query={"x": 1}, path={})
    with pytest.raises(TypeError, match="takes a SessionCreate"):
        request_for(BY_ID["session_create"], body=SessionStop(), query=None, path={})


def test_query_values_are_written_as_the_daemon_reads_them() -> None:
    request = request_for(
        BY_ID["session_events"], body=None, query={"after": 3, "follow": True, "preview": None}, path={"key": "@"}
    )
    assert request.target == "/v1/sessions/%40/events?after=3&follow=true"


async def test_connection_that_nobody_waits_for_any_more_is_closed(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient(at=UnixSocket(str(daemon.path))) as client:
        way, opened, goes_on = client._way, [], threading.Event()
        connect = way.connect

        def slowly() -> Any:
            opened.append(connect())
            goes_on.wait(5)
            return opened[0]

        monkeypatch.setattr(way, "connect", slowly)
        call = asyncio.create_task(client.call(BY_ID["status"]))
        while not opened:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        goes_on.set()
        async with asyncio.timeout(5):
            while opened[0].fileno() != -1:
                await asyncio.sleep(0.01)
