"""Does a log go on under another key, and is a key found out that the one before did not name?"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import AuditUnavailable
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.merkle import Frontier, inclusion_proof, leaf_hash, node_hash
from eleagent.transparency.note import Signer, VerifierKey
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.verify import Verdict, verify
from eleagent.wire.audit import AuditRecord, KeyRotation
from eleagent_daemon.store.ledger import Ledger, log

from ..independent import keys_of, log_holds

ORIGIN = "eleagent/x/1"
FORGER = Signer(b"f" * 32)


async def opened(folder: Path, pool: ThreadPoolExecutor) -> Ledger:
    return await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)


async def grow(ledger: Ledger, count: int = 3) -> None:
    for _ in range(count):
        await ledger.write(phase="event", action="session.stop", actor="ada")
    await ledger.checkpoint()


@pytest.fixture
def rotated(tmp_path: Path) -> Path:
    """A log that was signed by three keys, one after the other."""

    async def make() -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            ledger = await opened(tmp_path, pool)
            await grow(ledger)
            for _ in range(2):
                await ledger.rotate_key(actor="root")
                await grow(ledger)
            await ledger.close()

    asyncio.run(make())
    return tmp_path


def one_log(folder: Path) -> LogFolder:
    return LogFolder(folder / "ledger" / "log-0001")


def judged(folder: Path, *keys: VerifierKey) -> Verdict:
    (verdict,) = verify(folder / "ledger", keys=keys)
    return verdict


def lines_of(folder: Path) -> list[bytes]:
    return [line for _, path in one_log(folder).segments() for line in path.read_bytes().splitlines()]


def test_rotated_log_holds_by_each_of_its_keys_and_by_no_other(rotated: Path) -> None:
    keys = one_log(rotated).keys()
    assert len({key.public for key in keys}) == 3
    for trusted in ([], [keys[0]], [keys[1]], [keys[2]]):
        verdict = judged(rotated, *trusted)
        assert (verdict.problem, verdict.unsigned) == ("", 0)
        assert f"the key was rotated 2 times: {keys[2]} signs now" in verdict.notes
    assert "signed by no key that is trusted" in judged(rotated, FORGER.verifier(ORIGIN)).problem
    assert keys_of(one_log(rotated).path, str(keys[0])) == [str(key) for key in keys]
    assert log_holds(one_log(rotated).path, str(keys[0]))
    assert not log_holds(one_log(rotated).path, str(FORGER.verifier(ORIGIN)))


def test_rotation_leaves_one_private_key_alone(rotated: Path) -> None:
    names = sorted(path.name for path in (rotated / "secrets").iterdir())
    assert names == ["audit-sealing-key", "audit-signing-key"]
    seed = bytes.fromhex((rotated / "secrets" / "audit-signing-key").read_text())
    assert Signer(seed).verifier(ORIGIN) == one_log(rotated).keys()[-1]


async def test_rotated_log_is_taken_up_again_and_followed_by_another(rotated: Path, pool: ThreadPoolExecutor) -> None:
    ledger = await opened(rotated, pool)
    assert ledger.damage == ""
    await grow(ledger)
    await ledger.restart(actor="root", reason="a backup was restored")
    await ledger.close()
    first = (await asyncio.to_thread(one_log(rotated).keys))[0]
    verdicts = await asyncio.to_thread(verify, rotated / "ledger", keys=[first])
    assert [one.problem for one in verdicts] == ["", ""]


def test_rotated_log_holds_after_the_record_of_it_was_dropped(rotated: Path) -> None:
    """Its hashes stay, and what names the keys with its proof."""
    first = one_log(rotated).keys()[0]
    (seq, path) = one_log(rotated).segments()[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.rename(path.with_name(f"{seq + 8:016d}.jsonl"))
    path.with_name(f"{seq + 8:016d}.jsonl").write_bytes(b"".join(lines[8:]))
    verdict = judged(rotated, first)
    assert "no audit.pruned record" in verdict.problem, "all else holds"
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.size == len(lines)


def sign_on(folder: Path, signer: Signer, *records: AuditRecord) -> None:
    """What a forger with this key puts behind the log, chained and signed as it should be."""
    edge = Frontier()
    lines = lines_of(folder)
    for line in lines:
        edge.add(leaf_hash(line))
    with one_log(folder).segments()[-1][1].open("ab") as file, one_log(folder).checkpoints.open("a") as notes:
        for record in records:
            line = msgspec.json.encode(
                msgspec.structs.replace(record, seq=edge.size + 1, prev=leaf_hash(lines[-1]).hex())
            )
            lines.append(line)
            file.write(line + b"\n")
            edge.add(leaf_hash(line))
        notes.write(signer.sign(Checkpoint(ORIGIN, edge.size, edge.root).text, ORIGIN))


class _Leaves:
    """The tree over a few lines, as it is defined."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    def node(self, level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(self._lines[index])
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))


STOP = AuditRecord(seq=0, ts="2026-01-01T00:00:00Z", phase="event", action="session.stop", actor="mallory")


def no_record_names_it(folder: Path, _: Signer) -> None:
    sign_on(folder, FORGER, STOP)


def a_record_names_it_that_it_signed_itself(folder: Path, _: Signer) -> None:
    key = FORGER.verifier(ORIGIN)
    naming = msgspec.structs.replace(STOP, action="audit.key_rotated", details={"key": str(key)})
    sign_on(folder, FORGER, naming)
    lines = lines_of(folder)
    path = inclusion_proof(_Leaves(lines), len(lines) - 1, len(lines))
    proof = InclusionProof(len(lines) - 1, path, one_log(folder).last_note())
    with one_log(folder).rotations_file.open("ab") as file:
        file.write(msgspec.json.encode(KeyRotation(lines[-1].decode(), str(proof))) + b"\n")
    sign_on(folder, FORGER, STOP)


def the_proof_is_of_another_record(folder: Path, _: Signer) -> None:
    rotations = one_log(folder).rotations()
    record = msgspec.json.decode(rotations[-1].line, type=AuditRecord)
    key = FORGER.verifier(ORIGIN)
    line = msgspec.json.encode(msgspec.structs.replace(record, details={"key": str(key)})).decode()
    forged = msgspec.structs.replace(rotations[-1], line=line)
    data = [msgspec.json.encode(one) + b"\n" for one in [*rotations[:-1], forged]]
    one_log(folder).rotations_file.write_bytes(b"".join(data))


def the_key_that_was_given_up_signs_on(folder: Path, old: Signer) -> None:
    sign_on(folder, old, STOP)


def the_key_that_was_given_up_signs_on_as_if_there_were_no_other(folder: Path, old: Signer) -> None:
    one_log(folder).rotations_file.unlink()
    size = 5  # the record that names the other key is the last that the old one signed
    path = one_log(folder).segments()[-1][1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:size]))
    notes = [note for note in one_log(folder).notes() if int(note.split("\n")[1]) <= size]
    one_log(folder).checkpoints.write_text("".join(notes))
    (one_log(folder).tree / "0").write_bytes((one_log(folder).tree / "0").read_bytes()[: size * 32])
    sign_on(folder, old, STOP)


def its_key_names_the_trusted_one_as_if_it_came_before(folder: Path, old: Signer) -> None:
    """All anew, by a key that claims to have been followed by the one that is trusted."""
    shutil.rmtree(one_log(folder).records)
    one_log(folder).records.mkdir()
    (one_log(folder).records / f"{1:016d}.jsonl").touch()
    naming = msgspec.structs.replace(STOP, action="audit.key_rotated", details={"key": str(old.verifier(ORIGIN))})
    line = msgspec.json.encode(msgspec.structs.replace(naming, seq=1))
    (one_log(folder).records / f"{1:016d}.jsonl").write_bytes(line + b"\n")
    note = FORGER.sign(Checkpoint(ORIGIN, 1, leaf_hash(line)).text, ORIGIN)
    one_log(folder).checkpoints.write_text(note)
    (one_log(folder).tree / "0").write_bytes(leaf_hash(line))
    one_log(folder).keys_file.write_text(f"{FORGER.verifier(ORIGIN)}\n")
    proof = f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    one_log(folder).rotations_file.write_bytes(msgspec.json.encode({"line": line.decode(), "proof": proof}) + b"\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (no_record_names_it, "signed by no key that is trusted"),
        (a_record_names_it_that_it_signed_itself, "rotation 2 of the log's key: "),
        (the_proof_is_of_another_record, "rotation 2 of the log's key: "),
        (the_key_that_was_given_up_signs_on, "signed by no key that is trusted"),
        (the_key_that_was_given_up_signs_on_as_if_there_were_no_other, "record 5: it names another key"),
        (its_key_names_the_trusted_one_as_if_it_came_before, "signed by no key that is trusted"),
    ],
)
def test_foreign_key_is_found(tmp_path: Path, change: Callable[[Path, Signer], None], told: str) -> None:
    old: list[Signer] = []

    async def make() -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            ledger = await opened(tmp_path, pool)
            old.append(ledger.keys.signer)
            await grow(ledger)
            await ledger.rotate_key(actor="root")
            await grow(ledger)
            if change is the_proof_is_of_another_record:
                await ledger.rotate_key(actor="root")
                await grow(ledger)
            await ledger.close()

    asyncio.run(make())
    first = old[0].verifier(ORIGIN)
    assert judged(tmp_path, first).holds
    change(tmp_path, old[0])
    assert told in judged(tmp_path, first).problem
    assert not log_holds(one_log(tmp_path).path, str(first))


STEPS = ("rotations", "audit-signing-key")


@pytest.mark.parametrize("step", STEPS)
async def test_rotation_that_broke_off_is_ended_when_the_log_is_taken_up(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ledger = await opened(tmp_path, pool)
    await grow(ledger)
    first = (await asyncio.to_thread(ledger.current.keys))[0]

    def refuse(path: Path, data: bytes) -> None:
        if path.name == step:
            raise OSError(28, "No space left on device")
        replace(path, data)

    replace = log.replace
    with monkeypatch.context() as patch:
        patch.setattr(log, "replace", refuse)
        if step == "audit-signing-key":
            patch.setattr(type(ledger.keys), "adopt", lambda _: refuse(Path(step), b""))
        with pytest.raises(AuditUnavailable, match="No space left on device"):
            await ledger.rotate_key(actor="root")
    await ledger._resume()
    assert ledger.trouble == ""
    await grow(ledger)
    await ledger.close()
    verdict = await asyncio.to_thread(judged, tmp_path, first)
    assert (verdict.problem, len(await asyncio.to_thread(one_log(tmp_path).keys))) == ("", 2)
    assert ledger.keys.next is None


async def test_rotation_that_no_record_tells_of_did_not_happen(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    ledger = await opened(tmp_path, pool)
    await grow(ledger)
    await asyncio.to_thread(ledger.keys.prepare)
    await ledger.close()
    ledger = await opened(tmp_path, pool)
    assert (ledger.damage, ledger.keys.next) == ("", None)
    await grow(ledger)
    await ledger.close()
    assert len(await asyncio.to_thread(one_log(tmp_path).keys)) == 1
    assert (await asyncio.to_thread(judged, tmp_path)).problem == ""
