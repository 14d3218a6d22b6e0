"""Can a record be changed, taken out or added without the next start saying so?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import AuditUnavailable
from eleagent.wire.system import AuditRecord
from eleagent_daemon.store import ledger as ledger_module
from eleagent_daemon.store.ledger import GENESIS, Ledger, seal

Lines = list[bytes]


async def write(ledger: Ledger, action: str = "session.stop", session: str = "") -> int:
    return await ledger.write(phase="event", action=action, actor="ada", decision="allowed", session=session)


@pytest.fixture
async def three(tmp_path: Path, pool: ThreadPoolExecutor) -> Path:
    """A closed log of three records."""
    ledger = await Ledger.open(tmp_path, pool=pool)
    for session in ("s-a", "s-b", "s-a"):
        await write(ledger, session=session)
    ledger.close()
    return tmp_path / "audit.jsonl"


async def test_ledger_chain_goes_on_over_a_restart(tmp_path: Path, pool: ThreadPoolExecutor, three: Path) -> None:
    ledger = await Ledger.open(tmp_path, pool=pool)
    assert ledger.last_seq == 3
    assert await write(ledger) == 4
    records = (await ledger.list_records(after=0, limit=10, session="")).records
    assert [record.seq for record in records] == [1, 2, 3, 4]
    assert [record.prev for record in records] == [GENESIS, *(record.hash for record in records[:-1])]
    assert ledger.head == records[-1].hash
    assert three.read_bytes() == b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    ledger.close()


def reseal(line: bytes, **changes: object) -> bytes:
    """A record changed by someone who knows how hashes are made, but not those that follow."""
    return seal(msgspec.structs.replace(msgspec.json.decode(line, type=AuditRecord), **changes))[0]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        pytest.param(lambda lines: [lines[0], lines[1].replace(b'"ada"', b'"eve"'), lines[2]], 2, id="changed"),
        pytest.param(lambda lines: [lines[0], reseal(lines[1], actor="eve"), lines[2]], 3, id="changed and sealed"),
        pytest.param(lambda lines: [lines[0], lines[2]], 2, id="taken out"),
        pytest.param(lambda lines: lines[1:], 1, id="first taken out"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1]], 2, id="swapped"),
        pytest.param(lambda lines: [lines[0], lines[0], *lines[1:]], 2, id="repeated"),
        pytest.param(lambda lines: [lines[0], b"{}\n", *lines[1:]], 2, id="no record"),
        pytest.param(lambda lines: [lines[0], b"\n", *lines[1:]], 2, id="empty line"),
        pytest.param(lambda lines: [lines[0], b"\xff\xfe\n", *lines[1:]], 2, id="no text"),
        pytest.param(
            lambda lines: [lines[0].replace(b'"seq"', b'"note":"added","seq"'), *lines[1:]], 1, id="added field"
        ),
        pytest.param(lambda lines: [lines[0].replace(b'","', b'", "', 1), *lines[1:]], 1, id="added space"),
        pytest.param(lambda lines: [lines[0][:-4] + b'"}\n', *lines[1:]], 1, id="shortened hash"),
    ],
)
async def test_ledger_with_a_changed_record_is_refused(
    tmp_path: Path, pool: ThreadPoolExecutor, three: Path, change: Callable[[Lines], Lines], number: int
) -> None:
    changed = b"".join(change(three.read_bytes().splitlines(keepends=True)))
    three.write_bytes(changed)
    with pytest.raises(AuditUnavailable, match=rf"audit\.jsonl: record {number} was changed or is missing"):
        await Ledger.open(tmp_path, pool=pool)
    assert three.read_bytes() == changed, "the evidence is kept as it was found"


async def test_ledger_of_a_later_release_with_another_field_holds(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    later = msgspec.defstruct(
        "Later", [("seq", int), ("ts", str), ("site", str), ("phase", str), ("action", str), ("actor", str),
                  ("decision", str), ("prev", str), ("hash", str)],
    )  # fmt: skip
    line, head = seal(later(1, "2026", "lab", "event", "daemon.started", "eleagentd", "", GENESIS, ""))
    (tmp_path / "audit.jsonl").write_bytes(line)
    ledger = await Ledger.open(tmp_path, pool=pool)
    assert (ledger.last_seq, ledger.head) == (1, head)
    ledger.close()


async def test_ledger_cuts_a_torn_record_off(tmp_path: Path, pool: ThreadPoolExecutor, three: Path) -> None:
    whole = three.read_bytes()
    three.write_bytes(whole + whole[:40])
    ledger = await Ledger.open(tmp_path, pool=pool)
    assert (ledger.last_seq, three.read_bytes()) == (3, whole)
    ledger.close()


async def test_ledger_lists_pages_without_gap_or_repeat(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    ledger = await Ledger.open(tmp_path, pool=pool)
    for number in range(7):
        await write(ledger, session=f"s-{number % 2}")
    seen, after = [], 0
    while True:
        page = await ledger.list_records(after=after, limit=3, session="")
        seen.append([record.seq for record in page.records])
        if page.next is None:
            break
        after = page.next
    assert seen == [[1, 2, 3], [4, 5, 6], [7]]
    ledger.close()


async def test_ledger_lists_one_sessions_records(tmp_path: Path, pool: ThreadPoolExecutor, three: Path) -> None:
    ledger = await Ledger.open(tmp_path, pool=pool)
    first = await ledger.list_records(after=0, limit=1, session="s-a")
    assert ([record.seq for record in first.records], first.next) == ([1], 1)
    rest = await ledger.list_records(after=1, limit=1, session="s-a")
    assert ([record.seq for record in rest.records], rest.next) == ([3], None)
    assert (await ledger.list_records(after=0, limit=9, session="s-none")).records == []
    ledger.close()


async def test_ledger_newest_are_the_last_in_order(tmp_path: Path, pool: ThreadPoolExecutor, three: Path) -> None:
    ledger = await Ledger.open(tmp_path, pool=pool)
    found = await ledger.list_records(after=0, limit=2, session="", newest=True)
    assert ([record.seq for record in found.records], found.next) == ([2, 3], None)
    found = await ledger.list_records(after=0, limit=1, session="s-a", newest=True)
    assert [record.seq for record in found.records] == [3]
    ledger.close()


@pytest.mark.parametrize(
    ("asked", "seqs", "most"),
    [
        ({"after": 30, "limit": 3}, [31, 32, 33], 4),
        ({"limit": 3, "newest": True}, [38, 39, 40], 3),
        ({"after": 39, "limit": 3, "newest": True}, [40], 1),
        ({"limit": 9, "session": "s-a"}, [7, 8, 21], 5),
        ({"limit": 1, "session": "s-a", "newest": True}, [21], 5),
    ],
)
async def test_ledger_decodes_what_is_asked_for_alone(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], seqs: list[int],
    most: int,
) -> None:  # fmt: skip
    ledger = await Ledger.open(tmp_path, pool=pool)
    for seq in range(1, 41):
        session = "s-a" if seq in (8, 21) else ""
        await ledger.write(
            phase="event", action="x.y", actor="ada", decision="", session=session, request=f"r{8 if seq == 7 else seq}"
        )
    decoded: list[bytes] = []

    class Counting:
        def decode(self, line: bytes) -> AuditRecord:
            decoded.append(line)
            return msgspec.json.decode(line, type=AuditRecord)

    monkeypatch.setattr(ledger_module, "_decoder", Counting())
    found = await ledger.list_records(**{"after": 0, "session": ""} | asked)
    assert [record.seq for record in found.records] == seqs
    assert len(decoded) <= most
    ledger.close()


async def test_ledger_that_cannot_be_written_refuses(tmp_path, pool, three, no_file_beyond) -> None:
    ledger = await Ledger.open(tmp_path, pool=pool)
    with no_file_beyond(three.stat().st_size + 10), pytest.raises(AuditUnavailable, match=r"refused: .*File too large"):
        await write(ledger)
    with pytest.raises(AuditUnavailable):
        await write(ledger)
    ledger.close()
    ledger = await Ledger.open(tmp_path, pool=pool)
    assert ledger.last_seq == 3
    assert await write(ledger) == 4
    ledger.close()
