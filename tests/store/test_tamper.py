"""Is every change to an audit log found, with its place, by its files and the public key alone?"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.held import read_held
from eleagent.transparency.logfiles import LogFolder, TreeFiles, fold
from eleagent.transparency.merkle import Frontier, leaf_hash
from eleagent.transparency.note import Signer, VerifierKey
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.verify import Verdict, verify
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.reading import read_entry

from ..independent import log_holds, proof_holds

RECORDS = 600
UNSIGNED = 5
SIGNED_BEFORE = 550
"""Records under the checkpoint before the newest."""
PIECE, PIECES = map(int, os.environ.get("ELEAGENT_AUDIT_PIECE", "1/1").split("/"))
pytestmark = pytest.mark.timeout(60)
TIMES = -(-int(os.environ.get("ELEAGENT_TAMPER_TIMES", "30")) // PIECES)
"""Random changes a kind."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 600 records in several segments with a checkpoint at every 50th, and five records after the last."""
    folder = tmp_path_factory.mktemp("pristine")

    async def make() -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)
            for number in range(1, RECORDS - UNSIGNED):
                when = f"2026-{1 + number // 200:02d}-01T00:00:00.000000Z"
                await ledger.write(
                    phase="event", action="session.stop", actor=f"user{number % 7}", session=f"s-{number}", ts=when
                )
                if (number + 1) % 50 == 0:
                    await ledger.checkpoint()
            await ledger.checkpoint()
            for number in range(UNSIGNED):
                await ledger.write(phase="event", action="session.stop", actor=f"late{number}")
            await asyncio.get_running_loop().run_in_executor(ledger._thread, ledger._writer.close)
            await ledger.index.close()
            ledger._thread.shutdown(wait=False)

    asyncio.run(make())
    return folder


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Path:
    """Of its own, to be changed."""
    shutil.copytree(pristine / "ledger", tmp_path / "ledger")
    return tmp_path / "ledger"


@pytest.fixture
def key(pristine: Path) -> VerifierKey:
    return LogFolder(pristine / "ledger" / "log-0001").keys()[0]


def judge(ledger: Path, key: VerifierKey) -> Verdict:
    (verdict,) = verify(ledger, keys=[key])
    return verdict


def lines_of(ledger: Path) -> list[bytes]:
    return [
        line for _, path in LogFolder(ledger / "log-0001").segments() for line in path.read_bytes().splitlines(True)
    ]


def put_lines(ledger: Path, lines: list[bytes]) -> None:
    """Into the segments that are there, as many into each as it began with."""
    segments = LogFolder(ledger / "log-0001").segments()
    ends = [seq - 1 for seq, _ in segments[1:]] + [len(lines)]
    for (seq, path), end in zip(segments, ends, strict=True):
        path.write_bytes(b"".join(lines[seq - 1 : max(end, seq - 1)]))


def rehash(ledger: Path, lines: list[bytes]) -> None:
    """What a forger without the key can do: chain the records anew and make every stored hash fit."""
    prev, made, leaves = "", [], []
    for seq, line in enumerate(lines, 1):
        record = msgspec.structs.replace(msgspec.json.decode(line, type=AuditRecord), seq=seq, prev=prev)
        encoded = msgspec.json.encode(record)
        leaves.append(leaf_hash(encoded))
        prev = leaves[-1].hex()
        made.append(encoded + b"\n")
    put_lines(ledger, made)
    tree = ledger / "log-0001" / "tree"
    (tree / "0").write_bytes(b"".join(leaves))
    rows = [b"".join(leaves[at : at + 256]) for at in range(0, len(leaves) - 255, 256)]
    (tree / "1").write_bytes(b"".join(map(fold, rows)))


def resign(ledger: Path, signer: Signer, *, sizes: list[int] | None = None) -> None:
    """New checkpoints over what is there, by another key."""
    log = LogFolder(ledger / "log-0001")
    edge, notes = Frontier(), []
    for line in lines_of(ledger):
        edge.add(leaf_hash(line[:-1]))
        if edge.size % 50 == 0 and (sizes is None or edge.size in sizes):
            notes.append(signer.sign(Checkpoint("eleagent/x/1", edge.size, edge.root).text, "eleagent/x/1"))
    log.checkpoints.write_text("".join(notes))


def test_pristine_log_holds_by_both_verifiers(pristine: Path, key: VerifierKey) -> None:
    verdict = judge(pristine / "ledger", key)
    assert (verdict.problem, verdict.records, verdict.unsigned) == ("", RECORDS, UNSIGNED)
    assert log_holds(pristine / "ledger" / "log-0001", str(key))


def test_every_proof_holds_by_both_verifiers_and_no_forged_one(pristine: Path, key: VerifierKey) -> None:
    dice = random.Random(1)
    for seq in range(1, RECORDS - UNSIGNED, 17):
        entry = read_entry(pristine / "ledger", seq)
        assert proof_holds(entry.proof, entry.line.encode(), str(key))
        assert InclusionProof.parse(entry.proof).check(entry.line.encode(), [key]).size == RECORDS - UNSIGNED
        forged = entry.proof.encode()
        place = dice.randrange(len(forged))
        changed = forged[:place] + bytes([forged[place] ^ 1]) + forged[place + 1 :]
        with pytest.raises(TamperFound):
            InclusionProof.parse(changed.decode(errors="replace")).check(entry.line.encode(), [key])
        with pytest.raises(TamperFound):
            InclusionProof.parse(entry.proof).check(entry.line.encode() + b" ", [key])


Change = Callable[[list[bytes], random.Random], tuple[list[bytes], int]]
"""The lines as they are left, and the seq of the first that is not what it was."""


def flip(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    """Not in the last line: a record that no checkpoint and no other record follows yet is held by nothing."""
    at = dice.randrange(len(lines) - 1)
    place = dice.randrange(len(lines[at]) - 1)
    flipped = lines[at][:place] + bytes([lines[at][place] ^ (1 << dice.randrange(8))]) + lines[at][place + 1 :]
    return [*lines[:at], flipped, *lines[at + 1 :]], at + 1


def edit(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    at = dice.randrange(1, len(lines) - 1)
    return [*lines[:at], lines[at].replace(b'"actor":"', b'"actor":"x'), *lines[at + 1 :]], at + 1


def drop(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    at = dice.randrange(len(lines) - UNSIGNED)
    return lines[:at] + lines[at + 1 :], at + 1


def insert(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    """A second copy of a line before the line itself is first seen after it."""
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    return [*lines[:at], lines[other], *lines[at:]], at + 2 if at == other else at + 1


def swap(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    one, other = sorted(dice.sample(range(len(lines)), 2))
    changed = list(lines)
    changed[one], changed[other] = changed[other], changed[one]
    return changed, one + 1


def reorder(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    at = dice.randrange(len(lines) - 30)
    part = lines[at : at + 20]
    return [*lines[:at], *reversed(part), *lines[at + 20 :]], at + 1


def truncate(lines: list[bytes], dice: random.Random) -> tuple[list[bytes], int]:
    at = dice.randrange(1, len(lines) - UNSIGNED)
    return lines[:at], at + 1


CHANGES: list[Change] = [flip, edit, drop, insert, swap, reorder, truncate]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.timeout(600)
def test_change_of_the_records_is_found_with_its_place(copy: Path, key: VerifierKey, change: Change) -> None:
    dice, lines = random.Random(f"{change.__name__} {PIECE}"), lines_of(copy)
    for _ in range(TIMES):
        changed, place = change(lines, dice)
        if changed == lines:
            continue
        put_lines(copy, changed)
        verdict = judge(copy, key)
        assert not verdict.holds
        # after the last checkpoint there is only what the next record says of the one before it
        places = {place} if place <= RECORDS - UNSIGNED else {place - 1, place}
        assert verdict.record in places, verdict.problem
        put_lines(copy, lines)
    assert judge(copy, key).holds


@pytest.mark.parametrize("change", [edit, drop, insert, swap, reorder])
@pytest.mark.timeout(600)
def test_change_with_every_hash_made_to_fit_is_found_between_its_checkpoints(
    copy: Path, key: VerifierKey, change: Change
) -> None:
    dice, lines = random.Random(f"{change.__name__} {PIECE}"), lines_of(copy)
    for _ in range(TIMES // 10):
        changed, place = change(lines[: RECORDS - UNSIGNED], dice)
        if changed == lines[: RECORDS - UNSIGNED]:
            continue
        rehash(copy, changed)
        verdict = judge(copy, key)
        assert not verdict.holds
        first = max((place - 1) // 50 * 50 + 1, min(place, 2))  # the first record is signed alone
        # one fewer than were signed: where no checkpoint before the newest shows it, the last is what is missing
        short = len(changed) < RECORDS - UNSIGNED and first == SIGNED_BEFORE + 1
        assert verdict.record == (RECORDS - UNSIGNED if short else first), verdict.problem
        assert not log_holds(copy / "log-0001", str(key))


def test_log_signed_by_another_key_is_found(copy: Path, key: VerifierKey) -> None:
    signer = Signer(b"f" * 32)
    lines = lines_of(copy)
    rehash(copy, edit(lines, random.Random(3))[0])
    resign(copy, signer)
    (copy / "log-0001" / "keys").write_text(f"{signer.verifier(key.name)}\n")
    verdict = judge(copy, key)
    assert "checkpoint 1: the checkpoint at size 50 is signed by no key that is trusted" in verdict.problem
    assert verify(copy)[0].holds, "without a key of one's own a forger's is believed, which is why --key is there"


def test_last_checkpoint_taken_away_is_no_way_to_cut_the_log(copy: Path, key: VerifierKey) -> None:
    """Whoever puts back an older copy, whole and well signed, is found by whoever saw a later checkpoint."""
    log = LogFolder(copy / "log-0001")
    notes = list(log.notes())
    log.checkpoints.write_text("".join(notes[:-3]))
    put_lines(copy, lines_of(copy)[:450])
    for seq, path in log.segments():
        if seq > 450:
            path.unlink()
    (log.tree / "0").write_bytes((log.tree / "0").read_bytes()[: 450 * 32])
    assert judge(copy, key).holds


FORMS: list[Callable[[str], str]] = [
    lambda note: note,
    lambda note: f"{note}{note}",
    lambda note: "Nov 28 host eleagentd[7]: audit checkpoint " + note.rstrip("\n").replace("\n", "\\n") + "\n",
    lambda note: msgspec.json.encode({"daemon": "unix:///x", "size": 0, "note": note}).decode(),
]


@pytest.mark.parametrize("form", FORMS)
def test_checkpoint_that_somebody_holds_finds_what_was_signed_anew(
    copy: Path, key: VerifierKey, tmp_path: Path, form: Callable[[str], str]
) -> None:
    """Even by whoever has the right key; and an older copy that is whole and well signed."""
    newest = LogFolder(copy / "log-0001").last_note()
    (tmp_path / "held").write_text(form(newest))
    held = read_held(tmp_path / "held")
    assert held[0] == newest
    (verdict,) = verify(copy, keys=[key], held=held)
    assert verdict.problem == ""
    test_last_checkpoint_taken_away_is_no_way_to_cut_the_log(copy, key)
    (verdict,) = verify(copy, keys=[key], held=held)
    assert (verdict.record, "595 records were signed and 450 are here" in verdict.problem) == (451, True)


def test_history_that_the_right_key_signed_anew_is_found_by_a_checkpoint_that_is_held(
    copy: Path, pristine: Path, key: VerifierKey
) -> None:
    held = list(LogFolder(copy / "log-0001").notes())[5:6]
    signer = Signer(bytes.fromhex((pristine / "secrets" / "audit-signing-key").read_text()))
    lines = lines_of(copy)
    rehash(copy, [*lines[:99], lines[99].replace(b'"actor":"', b'"actor":"x'), *lines[100:]])
    resign(copy, signer)
    assert judge(copy, key).holds
    (verdict,) = verify(copy, keys=[key], held=held)
    assert "not what was signed at size 250" in verdict.problem
    forged = Signer(b"f" * 32).sign(Checkpoint(key.name, 1, bytes(32)).text, key.name)
    (verdict,) = verify(copy, keys=[key], held=[forged])
    assert verdict.problem.startswith("a checkpoint that is held: ")
    (verdict,) = verify(copy, keys=[key], held=[held[0].replace("eleagent/x/1", "eleagent/y/1")])
    assert "a checkpoint of eleagent/y/1 is held, and there is no such log here" in verdict.problem


def test_file_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    for text in ("", "{}", "audit checkpoint\n", "a\n1\nb\n"):
        (tmp_path / "held").write_text(text)
        with pytest.raises(BadRequest, match="there is no signed checkpoint in it"):
            read_held(tmp_path / "held")


def flips_of(path: Path, dice: random.Random, count: int) -> Iterator[None]:
    data = path.read_bytes()
    for _ in range(count):
        place = dice.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << dice.randrange(8))]) + data[place + 1 :])
        yield
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["checkpoints", "tree/0", "tree/1", "keys", "name", "first"])
@pytest.mark.timeout(600)
def test_flip_in_any_other_file_is_found(copy: Path, key: VerifierKey, name: str) -> None:
    for _ in flips_of(copy / "log-0001" / name, random.Random(f"{name} {PIECE}"), TIMES // 3):
        verdict = judge(copy, key)
        assert verdict.problem, name
    assert judge(copy, key).holds


def test_flip_in_the_end_of_a_line_is_found(copy: Path, key: VerifierKey) -> None:
    """Some characters end a line in the eyes of a lenient reader."""
    for name in ("keys", "name"):
        path = copy / "log-0001" / name
        data = path.read_bytes()
        for bit in range(8):
            path.write_bytes(data[:-1] + bytes([data[-1] ^ (1 << bit)]))
            assert judge(copy, key).problem, (name, bit)
        path.write_bytes(data)


def test_stored_hashes_are_not_believed_on_their_own(copy: Path) -> None:
    with TreeFiles(copy / "log-0001" / "tree") as tree, pytest.raises(TamperFound, match="too short"):
        tree.node(10, 0)


@pytest.mark.parametrize("part", ["checkpoints", "records", "tree", "keys", "name", "first"])
def test_missing_part_is_found(copy: Path, key: VerifierKey, part: str) -> None:
    path = copy / "log-0001" / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert judge(copy, key).problem
    shutil.rmtree(copy / "log-0001")
    with pytest.raises(TamperFound, match="holds no log"):
        verify(copy)
