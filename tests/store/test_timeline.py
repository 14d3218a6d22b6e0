"""Does every watcher get every durable event once and in order, from wherever it begins?"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import Conflict, StorageUnavailable
from eleagent.wire.events import OutputText, Provenance, SessionEnded, SessionQueued, SessionStarted
from eleagent.wire.sessions import State
from eleagent.wire.timeline import Event, Position
from eleagent_daemon.store import appendlog
from eleagent_daemon.store import timeline as module
from eleagent_daemon.store.timeline import Timelines

decode = msgspec.json.Decoder(Event).decode


@pytest.fixture
def timelines(tmp_path: Path, pool: ThreadPoolExecutor) -> Timelines:
    return Timelines(folder=tmp_path, pool=pool)


def text(word: object) -> OutputText:
    return OutputText(stream="out", text=str(word))


async def events_of(timelines: Timelines, key: str = "s") -> list[Event]:
    return [event async for block in timelines.events(key) for event in block]


async def watch(timelines: Timelines, key: str = "s", *, after: int = 0, follow: bool = True) -> list[int]:
    """The seqs that a watcher sees until its stream ends."""
    seqs: list[int] = []
    async for chunk, _ in timelines.stream(key, after=after, follow=follow):
        assert chunk.endswith(b"\n")
        seqs += [decode(line).seq for line in chunk.splitlines()]
    return seqs


async def test_timeline_line_n_is_the_event_with_seq_n(timelines: Timelines) -> None:
    timeline = await timelines.open("s")
    position = Position(offset=32, out=4, err=0, skip=1)
    assert await timeline.append(SessionStarted(), (text("a"), position)) == 2
    assert await timeline.append(text("b")) == timeline.last_seq == 3
    events = await events_of(timelines)
    assert [(event.seq, event.type, event.by, event.position) for event in events] == [
        (1, "session.started", "observed", None),
        (2, "output.text", "claimed", position),
        (3, "output.text", "claimed", None),
    ]
    assert events[1].payload() == text("a")
    timelines.close("s")


async def test_timeline_goes_on_where_a_dead_writer_tore_a_line(timelines: Timelines) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text("a"), text("b"))
    timelines.close("s")
    with timelines.path("s").open("ab") as file:
        file.write(b'{"seq":3,"ts":"20')
    assert await watch(timelines) == [1, 2], "a stream ends before a torn line"
    timeline = await timelines.open("s")
    assert await timeline.append(text("c")) == 3
    assert [event.seq for event in await events_of(timelines)] == [1, 2, 3]
    timelines.close("s")


async def test_timeline_has_one_writer(timelines: Timelines) -> None:
    assert await timelines.open("s") is await timelines.open("s")
    assert timelines.find_open("s") is not None
    timelines.close("s")
    assert timelines.find_open("s") is None


async def test_timeline_event_is_seen_only_when_it_is_durable(
    timelines: Timelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    durable = asyncio.Event()
    loop = asyncio.get_running_loop()

    def sync(_: int) -> None:
        asyncio.run_coroutine_threadsafe(durable.wait(), loop).result()

    monkeypatch.setattr(appendlog.os, "fdatasync", sync)
    appending = asyncio.ensure_future(timeline.append(text(2)))
    while timelines.path("s").read_bytes().count(b"\n") < 2:
        await asyncio.sleep(0.001)
    assert await watch(timelines, follow=False) == [1], "it is in the file, but not on the disk"
    durable.set()
    await appending
    assert await watch(timelines, follow=False) == [1, 2]
    timelines.close("s")


@pytest.mark.parametrize("after", [0, 1, 4, 5, 6, 8, 50])
async def test_timeline_follower_gets_what_is_after_any_seq(timelines: Timelines, after: int) -> None:
    timeline = await timelines.open("s")
    await timeline.append(*(text(number) for number in range(1, 6)))
    watching = asyncio.ensure_future(watch(timelines, after=after))
    for number in range(6, 11):
        await asyncio.sleep(0.005)
        await timeline.append(text(number))
    timelines.close("s")
    assert await watching == list(range(after + 1, 11))


async def test_timeline_follower_that_begins_past_a_line_under_way_sees_whole_lines(timelines: Timelines) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    with timelines.path("s").open("ab") as file:
        file.write(b'{"seq":2,')  # as a write that has begun
    watching = asyncio.ensure_future(watch(timelines, after=9))
    await asyncio.sleep(0.02)
    timelines.close("s")
    assert await watching == []


async def test_timeline_slow_watcher_loses_nothing_and_keeps_nobody_waiting(
    timelines: Timelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 512)
    timeline = await timelines.open("s")
    await timeline.append(text("first"))
    slow = timelines.stream("s", after=0, follow=True)
    seqs = [decode(line).seq for line in (await anext(slow))[0].splitlines()]
    fast = asyncio.ensure_future(watch(timelines))
    for number in range(50):
        await timeline.append(*(text(f"{number} {'x' * 40}") for _ in range(10)))
    timelines.close("s")
    assert await fast == list(range(1, 502))
    behind = []
    async for chunk, left in slow:
        seqs += [decode(line).seq for line in chunk.splitlines()]
        behind.append(left)
    assert seqs == list(range(1, 502))
    assert behind == sorted(behind, reverse=True)
    assert (behind[0] > 40_000, behind[-1]) == (True, 0)


async def test_timeline_line_longer_than_a_block_comes_whole(
    timelines: Timelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 64)
    timeline = await timelines.open("s")
    await timeline.append(text("a"), text("b" * 5000), text("c"))
    assert await watch(timelines, after=1, follow=False) == [2, 3]
    timelines.close("s")


async def test_timeline_close_ends_its_followers(timelines: Timelines) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    watching = [asyncio.ensure_future(watch(timelines)) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert not any(watcher.done() for watcher in watching)
    timelines.close("s")
    assert await asyncio.gather(*watching) == [[1]] * 3


async def test_timeline_follower_waits_for_the_end_when_the_disk_refuses(timelines: Timelines, no_file_beyond) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    watching = asyncio.ensure_future(watch(timelines))
    await asyncio.sleep(0.02)
    with no_file_beyond(timeline.durable_bytes + 5), pytest.raises(StorageUnavailable):
        await timeline.append(text(2))
    assert not watching.done()
    timelines.close("s")
    assert await watching == [1]
    assert await watch(timelines) == [1]


async def test_timeline_of_nobody_is_empty(timelines: Timelines) -> None:
    assert await watch(timelines, "nobody") == []
    assert await events_of(timelines, "nobody") == []
    assert await timelines.find_last("nobody", SessionStarted) is None


async def test_timeline_head_is_over_the_whole_file(timelines: Timelines) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    first = timeline.head
    await timeline.append(text(2))
    assert timeline.head != first
    assert timeline.head == hashlib.sha256(timelines.path("s").read_bytes()).hexdigest()
    timelines.close("s")


async def test_timeline_that_has_ended_takes_no_more(timelines: Timelines) -> None:
    timeline = await timelines.open("s-a")
    await timeline.append(text(1))
    timelines.close("s-a")
    with pytest.raises(Conflict, match="session s-a has ended"):
        await timeline.append(text(2))


async def test_timeline_last_seq_is_the_last_durable_one_after_a_failed_write(
    timelines: Timelines, no_file_beyond
) -> None:
    timeline = await timelines.open("s")
    await timeline.append(text(1))
    with no_file_beyond(timeline.durable_bytes + 5):
        failed = [asyncio.ensure_future(timeline.append(text(2), text(3))) for _ in range(3)]
        for one in failed:
            with pytest.raises(StorageUnavailable):
                await one
    with pytest.raises(StorageUnavailable):
        await timeline.append(text(4))
    assert timeline.last_seq == 1
    timelines.close("s")


async def test_timeline_finds_the_last_of_a_type_and_decodes_little_else(
    timelines: Timelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 300)
    timeline = await timelines.open("s")
    for position in (1, 2):
        await timeline.append(SessionQueued(position=position), *(text(number) for number in range(9)))
    await timeline.append(text('"type":"session.queued"'))
    timelines.close("s")
    later = Event(22, "", "agent.later", Provenance.CLAIMED, {"inner": {"type": "session.queued"}})
    with timelines.path("s").open("ab") as file:
        file.write(msgspec.json.encode(later) + b"\n")
    decoded: list[bytes] = []

    class Counting:
        def decode(self, line: bytes) -> Event:
            decoded.append(line)
            return decode(line)

    monkeypatch.setattr(module, "_decoder", Counting())
    found = await timelines.find_last("s", SessionQueued)
    assert found is not None
    assert (found.seq, found.payload()) == (11, SessionQueued(position=2))
    assert len(decoded) == 3, "both, and the one that holds the same bytes"
    assert await timelines.find_last("s", SessionStarted) is None


async def test_timeline_events_come_a_block_at_a_time(timelines: Timelines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READ_BYTES", 512)
    timeline = await timelines.open("s")
    await timeline.append(*(text(number) for number in range(100)))
    timelines.close("s")
    blocks = [block async for block in timelines.events("s")]
    assert max(len(block) for block in blocks) < 10
    assert [event.seq for block in blocks for event in block] == list(range(1, 101))


async def test_timeline_takes_nothing_after_the_last_event(timelines: Timelines) -> None:
    timeline = await timelines.open("s-aaaaaaaaaa")
    ended = SessionEnded(state=State.SUCCEEDED, reason="exited", exit_code=0)
    assert await timeline.append(ended) == 1
    with pytest.raises(Conflict, match="has ended"):
        await timeline.append(OutputText(stream="out", text="late"))
