"""Is an export believed by its proofs and one public key alone, and every change of it found?"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from eleagent.transparency.export import verify_export
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.note import Signer, VerifierKey
from eleagent.wire.audit import LogProof, ProvenRecord
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.query import Query
from eleagent_daemon.store.ledger.reading import read_proofs

from ..independent import proof_holds

pytestmark = pytest.mark.timeout(60)
TIMES = int(os.environ.get("ELEAGENT_TAMPER_TIMES", "200"))
Export = tuple[list[LogProof | ProvenRecord], VerifierKey]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Records of two logs, whose key was rotated in the first, and that first key."""
    folder = tmp_path_factory.mktemp("exported")

    async def make() -> list[LogProof | ProvenRecord]:
        with ThreadPoolExecutor(max_workers=2) as pool:
            ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)
            for number in range(40):
                await ledger.write(phase="event", action="session.stop", actor=f"user{number % 3}")
                if number == 20:
                    await ledger.rotate_key(actor="root")
            await ledger.restart(actor="root", reason="a backup was restored")
            for number in range(20):
                await ledger.write(phase="event", action="session.stop", actor=f"user{number % 3}")
            await ledger.checkpoint()
            found = await ledger.index.find_lines(Query(), after=0, limit=1000)
            logs, records = await asyncio.to_thread(read_proofs, folder / "ledger", found)
            await ledger.close()
            return [*logs, *records]

    items = asyncio.run(make())
    return items, LogFolder(folder / "ledger" / "log-0001").first_key()


def lines_of(items: list[LogProof | ProvenRecord]) -> list[bytes]:
    return [msgspec.json.encode(item) + b"\n" for item in items]


def test_export_holds_by_the_first_key_alone_and_says_what_it_has(exported: Export) -> None:
    items, key = exported
    for keys in ([key], []):
        verdict = verify_export(lines_of(items), keys=keys)
        assert (verdict.problem, verdict.records, verdict.first_seq, verdict.last_seq) == ("", 63, 1, 63)
        assert verdict.left_out == 0
        assert {origin: one.size for origin, one in verdict.checkpoints.items()} == {
            "eleagent/x/1": 42,
            "eleagent/x/2": 21,
        }


def test_export_of_some_records_says_how_many_are_left_out(exported: Export) -> None:
    items, key = exported
    few = [item for item in items if not isinstance(item, ProvenRecord) or '"user1"' in item.line]
    verdict = verify_export(lines_of(few), keys=[key])
    assert (verdict.problem, verdict.first_seq, verdict.last_seq) == ("", 3, 63)
    assert verdict.left_out == 61 - verdict.records


def test_export_holds_by_the_independent_verifier(exported: Export) -> None:
    items, _ = exported
    logs = {item.origin: item for item in items if isinstance(item, LogProof)}
    for item in items:
        if isinstance(item, ProvenRecord):
            log = logs[item.origin]
            proof = "\n".join(["c2sp.org/tlog-proof@v1", f"index {item.index}", *(item.path or []), "", log.note])
            assert proof_holds(proof, item.line.encode(), log.keys[-1])


def test_export_is_not_believed_by_another_key(exported: Export) -> None:
    items, key = exported
    other = Signer(b"f" * 32).verifier(key.name)
    assert "signed by no key that is trusted" in verify_export(lines_of(items), keys=[other]).problem


def change_record(item: ProvenRecord) -> ProvenRecord:
    return msgspec.structs.replace(item, line=item.line.replace('"actor":"', '"actor":"x'))


def drop_proof(item: ProvenRecord) -> ProvenRecord:
    return msgspec.structs.replace(item, path=None)


def move(item: ProvenRecord) -> ProvenRecord:
    return msgspec.structs.replace(item, index=item.index ^ 1)


def claim_another_log(item: ProvenRecord) -> ProvenRecord:
    return msgspec.structs.replace(item, origin="eleagent/y/1")


@pytest.mark.parametrize("change", [change_record, drop_proof, move, claim_another_log])
def test_record_of_an_export_that_was_changed_is_named(
    exported: Export, change: Callable[[ProvenRecord], ProvenRecord]
) -> None:
    items, key = exported
    for at, item in enumerate(items):
        if isinstance(item, ProvenRecord):
            verdict = verify_export(lines_of([*items[:at], change(item), *items[at + 1 :]]), keys=[key])
            assert verdict.problem.startswith(f"line {at + 1}: ")
            assert verdict.record == at - 1, verdict.problem


def test_order_of_an_export_is_that_of_the_log(exported: Export) -> None:
    items, key = exported
    for swapped in ([*items[:5], items[6], items[5], *items[7:]], [*items[:5], items[5], *items[5:]]):
        assert " follows record " in verify_export(lines_of(swapped), keys=[key]).problem


def test_any_flipped_bit_of_an_export_is_found(exported: Export) -> None:
    items, key = exported
    data = b"".join(lines_of(items))
    dice = random.Random(11)
    for _ in range(TIMES):
        place = dice.randrange(len(data))
        flipped = data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :]
        verdict = verify_export(flipped.splitlines(keepends=True), keys=[key])
        assert not verdict.holds, flipped[max(0, place - 60) : place + 60]


def test_nothing_is_no_export() -> None:
    assert verify_export([]).problem == "nothing is in it"
    assert "line 1 can't be read" in verify_export([b"{}"]).problem
