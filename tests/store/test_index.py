"""Does every filter find what it should, page without gap or repeat, and come back after the index is lost?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eleagent.errors import BadRequest
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.query import Query


@pytest.fixture
async def ledger(tmp_path: Path, pool: ThreadPoolExecutor) -> AsyncIterator[Ledger]:
    """Records 2 to 6."""
    opened = await Ledger.open(tmp_path / "ledger", secrets=tmp_path / "secrets", installation="x", pool=pool)
    intent = await opened.write(
        phase="intent", action="session.create", actor="ada", decision="allowed", ts="2027-01-01T00:00:00Z",
        details={"agent": "claude"},
    )  # fmt: skip
    await opened.write(
        phase="outcome", action="session.create", actor="ada", decision="allowed", intent=intent, session="s-a",
        outcome="done", ts="2027-01-02T00:00:00Z",
    )  # fmt: skip
    await opened.write(
        phase="event", action="egress.tunnel", actor="s-a", behalf="ada", session="s-a", decision="denied",
        target="api.example.com:443", ts="2027-01-03T00:00:00Z",
        details={"host": "api.example.com", "port": "443", "reason": "no rule of policy model-only names it"},
    )  # fmt: skip
    await opened.write(
        phase="event", action="artefact.read", actor="bob", decision="allowed", target="s-a", session="s-a",
        ts="2027-01-04T00:00:00Z", details={"path": "reports/[1] a*b?.md"},
    )  # fmt: skip
    await opened.write(phase="event", action="session.stop", actor="bob", ts="2027-01-05T00:00:00Z")
    yield opened
    await opened.close()


async def seqs(ledger: Ledger, newest: bool = False, limit: int = 100, after: int = 0, **asked: str) -> list[int]:
    found = await ledger.index.find(Query(**asked), after=after, before=None, limit=limit, newest=newest)
    return [record.seq for record in found]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"actor": "ada"}, [2, 3]),
        ({"own": "ada"}, [2, 3, 4]),
        ({"own": "nobody"}, []),
        ({"action": "session.create"}, [2, 3]),
        ({"action": "session.*"}, [2, 3, 6]),
        ({"action": "*.read"}, [5]),
        ({"session": "s-a"}, [2, 3, 4, 5]),
        ({"object": "api.example.com:443"}, [4]),
        ({"decision": "denied"}, [4]),
        ({"host": "api.example.com"}, [4]),
        ({"host": "*.example.com"}, [4]),
        ({"host": "example.com"}, []),
        ({"path": "reports/[1] a*b?.md"}, [5]),
        ({"path": "reports/[1] a*"}, [5]),
        ({"path": "reports/1*"}, []),
        ({"text": "policy model-only names"}, [4]),
        ({"text": "policy mod*"}, [4]),
        ({"text": "policy mod"}, []),
        ({"text": 'a" OR "b'}, []),
        ({"since": "2027-01-03", "until": "2027-01-05"}, [4, 5]),
        ({"since": "2027-01-02T01:00:00+01:00", "actor": "ada"}, [3]),
        ({"actor": "bob", "action": "artefact.read", "session": "s-a"}, [5]),
        ({"actor": "bob", "action": "artefact.read", "session": "s-b"}, []),
    ],
)
async def test_index_finds_by(ledger: Ledger, asked: dict[str, str], found: list[int]) -> None:
    assert await seqs(ledger, **asked) == found


async def test_index_pages_each_way(ledger: Ledger) -> None:
    assert await seqs(ledger, limit=2, after=2) == [3, 4]
    assert await seqs(ledger, limit=2, newest=True) == [5, 6]
    older = await ledger.index.find(Query(actor="ada"), after=0, before=3, limit=9, newest=True)
    assert [record.seq for record in older] == [2]


@pytest.mark.parametrize("asked", [{"text": "!?"}, {"since": "yesterday"}])
async def test_index_refuses_what_is_no_question(ledger: Ledger, asked: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        await seqs(ledger, **asked)


async def test_index_that_is_lost_spoilt_or_left_open_by_a_fall_is_made_again(ledger: Ledger) -> None:
    assert len(await seqs(ledger)) == 6
    path = ledger.folder / "index.db"
    await ledger.index.close()
    path.write_bytes(b"no database" * 1000)
    assert len(await seqs(ledger)) == 6
    await ledger.index.close()
    path.unlink()
    assert len(await seqs(ledger)) == 6
    await ledger.write(phase="event", action="session.stop", actor="x")
    assert await seqs(ledger, actor="x") == [7]
