"""Is the same found by halving a timeline as by reading it, and what is looked for, forwards and backwards?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.wire import events as ev
from eleagent.wire.sessions import State
from eleagent.wire.timeline import Event
from eleagent.wire.wanted import Wanted
from eleagent_daemon.store import timeline as module
from eleagent_daemon.store.timeline import Timelines, seek_event


def line(seq: int, payload: ev.Payload) -> bytes:
    data = msgspec.to_builtins(payload)
    return msgspec.json.encode(Event(seq, "2026-01-01T00:00:00Z", payload.type, payload.by, data)) + b"\n"


@given(sizes=st.lists(st.integers(0, 300), max_size=60), after=st.integers(0, 70), torn=st.integers(0, 40))
def test_seek_event_agrees_with_splitting(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], after: int, torn: int
) -> None:
    lines = [line(seq, ev.OutputText("out", "x" * size)) for seq, size in enumerate(sizes, 1)]
    path = tmp_path_factory.getbasetemp() / "seek.jsonl"
    path.write_bytes(b"".join(lines) + line(len(lines) + 1, ev.SessionStarted())[:torn])
    past = min(after, len(lines))
    halved, module._HALVED_TO = module._HALVED_TO, 64
    fd = os.open(path, os.O_RDONLY)
    try:
        assert seek_event(fd, path.stat().st_size, after) == (len(b"".join(lines[:past])), past)
    finally:
        os.close(fd)
        module._HALVED_TO = halved


@pytest.fixture
def timelines(tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> Timelines:
    monkeypatch.setattr(module, "_READ_BYTES", 512)
    payloads: list[ev.Payload] = []
    for number in range(1, 101):
        payloads += [
            ev.AgentToolCall(id=f"t{number}", name="Bash", input=f'{{"command":"make part-{number}"}}'),
            ev.AgentToolResult(id=f"t{number}", text=f"Größe {number}\n\x1b[31m", is_error=number % 40 == 0),
        ]
    payloads += [ev.EgressTunnel(False, "none", "evil.example", 443), ev.SessionEnded(State.FAILED, "exited", 1)]
    (tmp_path / "s.jsonl").write_bytes(b"".join(line(seq, one) for seq, one in enumerate(payloads, 1)))
    return Timelines(folder=tmp_path, pool=pool)


async def search(timelines: Timelines, *, limit: int = 1000, back: int | None = None, after: int = 0, **what) -> list:
    before = back if back is not None else 1 << 53
    found = await timelines.find(
        "s", Wanted(**what), after=after, before=before, limit=limit, backwards=back is not None
    )
    assert found.goes_on_at is None
    return found.seqs


async def test_find_text_forwards_and_backwards(timelines: Timelines) -> None:
    assert await search(timelines, text="part-7") == [13, *range(139, 159, 2)]
    assert await search(timelines, text="part-7", back=145) == [143, 141, 139, 13]
    assert await search(timelines, text="part-7", after=139, limit=2) == [141, 143]
    assert await search(timelines, text="part-7", back=13) == []


async def test_find_takes_capitals_as_they_are_meant(timelines: Timelines) -> None:
    assert await search(timelines, text="bash", limit=1) == [1]
    assert await search(timelines, text="BASH") == []
    assert await search(timelines, text="Größe 100") == [200]


async def test_find_looks_into_values_alone(timelines: Timelines) -> None:
    assert await search(timelines, text='"seq"') == []
    assert await search(timelines, text="tool_result") == []
    assert len(await search(timelines, text="\x1b[31m\n".strip())) == 100


async def test_find_trouble_and_types(timelines: Timelines) -> None:
    assert await search(timelines, trouble=True) == [80, 160, 201, 202]
    assert await search(timelines, trouble=True, back=202, limit=1) == [201]
    assert await search(timelines, types=frozenset({"agent.tool_call"}), after=10, limit=1) == [11]
    assert await search(timelines, types=frozenset({"agent.tool_call"}), trouble=True) == []


async def test_find_says_where_it_stopped(timelines: Timelines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEARCH_BYTES", 1)
    wanted = Wanted(text="part-100")
    found = await timelines.find("s", wanted, after=0, before=1 << 53, limit=1, backwards=False)
    assert found.seqs == []
    rounds = 0
    while found.goes_on_at:
        rounds += 1
        found = await timelines.find("s", wanted, after=found.goes_on_at - 1, before=1 << 53, limit=1, backwards=False)
    assert (found.seqs, rounds > 10) == ([199], True)
    found = await timelines.find("s", wanted, after=0, before=150, limit=1, backwards=True)
    assert found.goes_on_at is not None
    assert found.goes_on_at <= 150


async def test_matching_gives_the_lines_that_find_names(timelines: Timelines) -> None:
    for what in (
        {"text": "part-7"}, {"text": "größe 100"}, {"trouble": True}, {"types": frozenset({"agent.tool_call"})},
        {"types": frozenset({"agent.tool_result"}), "text": "Größe 1", "trouble": True}, {"text": "nowhere"},
    ):  # fmt: skip
        for after in (0, 100, 500):
            wanted = Wanted(**what)
            lines = b"".join([block async for block in timelines.matching("s", wanted, after=after)])
            events = [msgspec.json.decode(one, type=Event) for one in lines.splitlines()]
            assert [one.seq for one in events] == await search(timelines, after=after, **what)
            assert all(wanted.fits(one) for one in events)
    assert not [block async for block in timelines.matching("none", Wanted(text="a"), after=0)]


async def test_stream_ends_after_its_limit(timelines: Timelines) -> None:
    for after, limit in ((0, 1), (5, 7), (195, 100), (202, 3), (0, 0)):
        seqs = []
        async for chunk, _ in timelines.stream("s", after=after, follow=False, limit=limit):
            seqs += [msgspec.json.decode(one, type=Event).seq for one in chunk.splitlines()]
        assert seqs == list(range(after + 1, min(202, after + limit) + 1))
    assert await timelines.last_seq("s") == 202
    assert await timelines.last_seq("nobody") == 0
