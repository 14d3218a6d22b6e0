"""Is what sessions reached for found across all timelines, once each, as they grow, end and go away?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eleagent.wire.events import EgressModel, EgressTunnel, OutputText, Payload, SessionCreated, SessionEnded
from eleagent.wire.sessions import State
from eleagent_daemon.store.egress import Egress
from eleagent_daemon.store.timeline import Timelines


@pytest.fixture
def timelines(tmp_path: Path, pool: ThreadPoolExecutor) -> Timelines:
    (tmp_path / "logs").mkdir()
    return Timelines(folder=tmp_path / "logs", pool=pool)


@pytest.fixture
async def egress(tmp_path: Path, timelines: Timelines, pool: ThreadPoolExecutor) -> AsyncIterator[Egress]:
    opened = await open_egress(tmp_path, timelines, pool)
    yield opened
    await opened.close()


async def open_egress(tmp_path: Path, timelines: Timelines, pool: ThreadPoolExecutor) -> Egress:
    return await Egress.open(tmp_path / "egress.db", timelines=timelines, folder=tmp_path / "logs", pool=pool)


def tunnel(host: str, *, allowed: bool = True, **more) -> EgressTunnel:
    return EgressTunnel(allowed=allowed, rule="allow" if allowed else "none", host=host, port=443, **more)


async def write(timelines: Timelines, key: str, *payloads: Payload, owner: str = "weber") -> None:
    timeline = await timelines.open(key)
    if timeline.last_seq == 0:
        await timeline.append(SessionCreated(agent="a", owner=owner, policy="p", runtime="r"))
    await timeline.append(*payloads)


async def hosts(egress: Egress, **query) -> list[str]:
    return [one.host for one in (await egress.list_decisions(limit=100, **query)).decisions]


async def test_decisions_of_all_sessions_are_listed_once_and_as_they_come(timelines: Timelines, egress: Egress) -> None:
    fake = OutputText("out", '{"type":"egress.tunnel","host":"forged.example"}')
    await write(timelines, "s-1", tunnel("a.example"), fake, tunnel("b.example", allowed=False, count=3))
    await write(timelines, "s-2", EgressModel(True, "model", "POST", "/v1/messages", 200, upstream="api.example"))
    assert await hosts(egress) == ["a.example:443", "b.example:443", "api.example"]
    await write(timelines, "s-1", tunnel("c.example"), SessionEnded(State.FAILED, "exited", 1))
    assert await hosts(egress, after=3) == ["c.example:443"]
    assert len(await hosts(egress)) == 4
    (first, *_) = (await egress.list_decisions(limit=1)).decisions
    assert (first.session, first.seq, first.allowed, first.rule) == ("s-1", 2, True, "allow")
    timelines.close("s-1")
    timelines.close("s-2")


async def test_index_is_made_again_and_goes_on_where_it_was(
    tmp_path: Path, timelines: Timelines, pool: ThreadPoolExecutor
) -> None:
    await write(timelines, "s-1", tunnel("a.example"))
    for count in (1, 2):
        egress = await open_egress(tmp_path, timelines, pool)
        assert len(await hosts(egress)) == count
        await egress.close()
        await write(timelines, "s-1", tunnel("b.example"))
    (tmp_path / "egress.db").unlink()
    egress = await open_egress(tmp_path, timelines, pool)
    assert await hosts(egress) == ["a.example:443", "b.example:443", "b.example:443"]
    await egress.close()
    timelines.close("s-1")


async def test_what_was_decided_goes_with_its_session(tmp_path: Path, timelines: Timelines, egress: Egress) -> None:
    await write(timelines, "s-1", tunnel("a.example"))
    await write(timelines, "s-2", tunnel("b.example"))
    assert len(await hosts(egress)) == 2
    timelines.close("s-1")
    (tmp_path / "logs" / "s-1.jsonl").unlink()
    assert await hosts(egress) == ["b.example:443"]
    timelines.close("s-2")


async def test_decisions_are_narrowed_and_paged_both_ways(timelines: Timelines, egress: Egress) -> None:
    await write(timelines, "s-1", *(tunnel(f"h{number}.example") for number in range(10)))
    await write(timelines, "s-2", tunnel("x.example", allowed=False, reason="EleAgent: No"), owner="ada")
    assert await hosts(egress, owner="ada") == ["x.example:443"]
    assert await hosts(egress, session="s-2") == await hosts(egress, refused=True) == ["x.example:443"]
    assert await hosts(egress, text="H3.EX") == ["h3.example:443"]
    assert await hosts(egress, text="eleagent: no") == ["x.example:443"]
    newest = await egress.list_decisions(limit=4, newest=True)
    assert [one.id for one in newest.decisions] == [8, 9, 10, 11]
    before = await egress.list_decisions(limit=4, newest=True, before=newest.next)
    assert [one.id for one in before.decisions] == [4, 5, 6, 7]
    onwards = await egress.list_decisions(limit=4)
    assert ([one.id for one in onwards.decisions], onwards.next) == ([1, 2, 3, 4], 4)
    assert (await egress.list_decisions(limit=100, after=4)).next is None
    timelines.close("s-1")
    timelines.close("s-2")


async def test_top_counts_every_attempt(timelines: Timelines, egress: Egress) -> None:
    await write(timelines, "s-1", tunnel("a.example", bytes_up=5), tunnel("a.example", bytes_down=7))
    await write(timelines, "s-2", tunnel("a.example", allowed=False), tunnel("b.example", allowed=False, count=9))
    top = (await egress.top(limit=10)).hosts
    assert [(one.host, one.allowed, one.refused, one.sessions) for one in top] == [
        ("b.example:443", 0, 9, 1),
        ("a.example:443", 2, 1, 2),
    ]
    assert (top[1].bytes_up, top[1].bytes_down) == (5, 7)
    assert [one.host for one in (await egress.top(limit=10, session="s-1")).hosts] == ["a.example:443"]
    assert (await egress.top(limit=10, owner="nobody")).hosts == []
    timelines.close("s-1")
    timelines.close("s-2")
