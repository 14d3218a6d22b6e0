"""Was a log changed since it was written? Judged by its files and the public key alone; names the first bad record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.logfiles import LogFolder, TreeFiles, fold, lines, log_folders
from eleagent.transparency.merkle import HASH_BYTES, Frontier, leaf_hash
from eleagent.transparency.note import VerifierKey
from eleagent.transparency.signed import read_signed
from eleagent.transparency.succession import KEY_ROTATED, Succession
from eleagent.wire.audit import AuditRecord

STEP: Final = 1024
RESTARTED: Final = "audit.restarted"
PRUNED: Final = "audit.pruned"


class _Link(msgspec.Struct):
    """What of a record is needed to see whether it follows the one before."""

    seq: int
    action: str
    prev: str = ""


_link = msgspec.json.Decoder(_Link)
_record = msgspec.json.Decoder(AuditRecord)


@dataclass
class Verdict:
    """What was found in one log. `problem` is empty when it holds; `record` is the first bad one's seq, 0 where the
    fault is not one record's. `unsigned` records follow the last checkpoint.
    """

    folder: Path
    origin: str = ""
    first_seq: int = 1
    records: int = 0
    dropped: int = 0
    checkpoint: Checkpoint | None = None
    checkpoints: int = 0
    unsigned: int = 0
    problem: str = ""
    record: int = 0
    notes: list[str] = field(default_factory=list)
    acknowledged: bool = False

    @property
    def holds(self) -> bool:
        return not self.problem or self.acknowledged


def verify(ledger: Path, *, keys: Sequence[VerifierKey] = (), held: Sequence[str] = ()) -> list[Verdict]:
    """A verdict for each log below `ledger`. One of `keys` that a log had is enough: each key names the next. Without
    `keys` the first one beside the files is believed, which shows damage but no forger who brought a key of his own.
    `held` are signed notes from elsewhere, which the logs have to fit as they do their own. Raises TamperFound where
    there is no log at all.
    """
    folders = log_folders(ledger)
    if not folders:
        raise TamperFound(f"{ledger} holds no log: there is no folder log-NNNN in it")
    verdicts: list[Verdict] = []
    checks: list[_Check] = []
    trusted = keys
    for number, folder in enumerate(folders):
        verdict = Verdict(folder)
        check = _Check(LogFolder(folder), trusted, verdict, held)
        for _ in check.run():
            pass
        if keys and check.succession is not None:  # the next log goes on with the newest key, and no older one
            trusted = [check.succession.newest]
        verdicts.append(verdict)
        checks.append(check)
        if number:
            _check_succession(verdicts[-2], verdict, check.first)
        elif check.first is not None and check.first.action == RESTARTED and check.first.details.get("origin"):
            _fault(verdict, "", f"the log before this one ({check.first.details['origin']}) is missing")
    _check_origins(verdicts, held)
    dropped = max(check.pruned_to for check in checks)
    for check in checks:
        check.judge_dropped(dropped)
    return verdicts


def scan(folder: Path) -> Iterator[Verdict]:
    """Verify one log, giving what is known so far every STEP records: for who has other things to do meanwhile."""
    verdict = Verdict(folder)
    check = _Check(LogFolder(folder), (), verdict)
    for _ in check.run():
        yield verdict
    check.judge_dropped(check.pruned_to)
    yield verdict


def _check_origins(verdicts: list[Verdict], held: Sequence[str]) -> None:
    """Every checkpoint that is held is of a log that is here."""
    here = {verdict.origin for verdict in verdicts}
    for origin in {note.partition("\n")[0] for note in held} - here:
        _fault(verdicts[-1], "", f"a checkpoint of {origin} is held, and there is no such log here")


def _fault(verdict: Verdict, where: str, what: str, record: int = 0) -> None:
    """The first one counts."""
    if not verdict.problem:
        verdict.problem, verdict.record = f"{where}{what}", record


def _check_succession(before: Verdict, verdict: Verdict, first: AuditRecord | None) -> None:
    """A log that follows another names it with its last checkpoint, and what was wrong with it."""
    if first is None or first.action != RESTARTED:
        _fault(verdict, "", f"its first record does not name {before.origin or before.folder.name}", verdict.first_seq)
        return
    details = first.details
    last = before.checkpoint
    named = (details.get("origin", ""), details.get("size", "0"), details.get("root", ""))
    found = (before.origin, str(last.size), last.root.hex()) if last else (before.origin, "0", "")
    if named != found:
        what = f"it follows {named[0]} at size {named[1]}, but the log before it is {found[0]} at size {found[1]}"
        _fault(verdict, "", what, verdict.first_seq)
    if before.problem and details.get("damage") == before.problem:
        before.acknowledged = True
        before.notes.append(f"known when {first.actor} began the next log ({first.ts}): {first.details.get('reason')}")


class _Check:
    """One pass over one log."""

    def __init__(self, log: LogFolder, keys: Sequence[VerifierKey], verdict: Verdict, held: Sequence[str] = ()) -> None:
        self._log = log
        self._held = held
        self._keys = keys
        self._verdict = verdict
        self._edge = Frontier()
        self._prev = ""
        self._due: list[Checkpoint] = []
        self._sizes: list[int] = []
        self._rotated: list[tuple[int, bytes]] = []
        self.succession: Succession | None = None
        """The log's keys, once one of those that are trusted is seen to be among them."""
        self.pruned_to = 0
        self.first: AuditRecord | None = None

    def run(self) -> Iterator[None]:
        verdict = self._verdict
        try:
            verdict.origin, verdict.first_seq = self._log.name()
            self._read_checkpoints()
            with TreeFiles(self._log.tree) as tree:
                yield from self._walk(tree)
                self._check_upper(tree)
                if not verdict.problem:
                    self._read_first(tree)
            self._end()
        except TamperFound as err:
            _fault(verdict, "", err.message)
        except (OSError, UnicodeDecodeError) as err:
            _fault(verdict, "", f"a file of the log can't be read: {err}")

    def _read_checkpoints(self) -> None:
        verdict, found = self._verdict, read_signed(self._log, self._keys, held=self._held)
        verdict.checkpoints = found.seen
        verdict.notes += found.notes
        self.succession = found.succession
        self._due = sorted({*found.checkpoints, *found.held}, key=lambda one: one.size, reverse=True)
        if found.problem:
            _fault(verdict, "", found.problem)

    def _walk(self, tree: TreeFiles) -> Iterator[None]:
        verdict, first_seq = self._verdict, self._verdict.first_seq
        leaves = tree.leaves
        index = 0
        segments = self._log.segments()
        begin = segments[0][0] - first_seq if segments else (self._due[0].size if self._due else 0)
        if begin < 0:
            _fault(verdict, "", f"{segments[0][1].name} is older than the log's first record {first_seq}")
            return
        while index < begin:
            row = tree.hashes(0, index, min(STEP, begin - index))
            for at in range(0, len(row), HASH_BYTES):
                if not self._take(row[at : at + HASH_BYTES], index):
                    return
                index += 1
            yield
        verdict.dropped = begin
        if begin:
            self._read_first(tree)
            self._prev = tree.hashes(0, begin - 1, 1).hex()
        for number, (seq, path) in enumerate(segments):
            if seq != first_seq + index:
                _fault(verdict, f"record {first_seq + index}: ", f"it is missing before {path.name}", first_seq + index)
                return
            last = number == len(segments) - 1
            stored = b""
            for line in lines(path):
                at = index % STEP
                if at == 0 or not stored:
                    stored = tree.hashes(0, index - at, min(STEP, leaves - index + at)) if index < leaves else b""
                    yield
                if line[-1:] != b"\n":
                    if not last:
                        _fault(verdict, f"record {first_seq + index}: ", f"{path.name} breaks off", first_seq + index)
                        return
                    verdict.notes.append(f"a torn record of {len(line)} bytes is at the end: a writer died over it")
                    break
                if not self._follow(line, index, stored[at * HASH_BYTES : (at + 1) * HASH_BYTES]):
                    return
                index += 1

    def _read_first(self, tree: TreeFiles) -> None:
        """From the copy that is there for when its time is over."""
        line = (self._log.path / "first").read_bytes()
        if leaf_hash(line) != tree.hashes(0, 0, 1):
            raise TamperFound(f"{self._log.path / 'first'} is not the log's first record")
        self.first = _record.decode(line)

    def _follow(self, line: bytes, index: int, stored: bytes) -> bool:
        """Whether the line is the record that has to be here."""
        verdict, seq = self._verdict, self._verdict.first_seq + index
        leaf = sha256(b"\x00" + line[:-1]).digest()
        if stored and leaf != stored:
            _fault(
                verdict,
                f"record {seq}: ",
                "its bytes are not those that were hashed: it was changed, or is another",
                seq,
            )
            return False
        try:
            link = _link.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            _fault(verdict, f"record {seq}: ", f"it can't be read: {err}", seq)
            return False
        if link.seq != seq:
            _fault(verdict, f"record {seq}: ", f"record {link.seq} is in its place", seq)
            return False
        if link.prev != self._prev:
            first = seq if stored or not index else seq - 1
            _fault(verdict, f"record {first}: ", f"it was changed, or record {seq}, which does not follow it", first)
            return False
        if link.action in (RESTARTED, PRUNED, KEY_ROTATED) or index == 0:
            self._remember(line, index)
        self._prev = leaf.hex()
        return self._take(leaf, index)

    def _remember(self, line: bytes, index: int) -> None:
        record = _record.decode(line)
        if index == 0:
            self.first = record
        if record.action == KEY_ROTATED:
            self._rotated.append((index, line[:-1]))
        if record.action == PRUNED and record.phase == "intent":
            self.pruned_to = max(self.pruned_to, int(record.details.get("to", "0")))

    def _take(self, leaf: bytes, index: int) -> bool:
        """Whether the tree with this leaf has the root that was signed, where one was."""
        verdict, edge = self._verdict, self._edge
        edge.add(leaf)
        verdict.records = edge.size
        while self._due and self._due[-1].size == edge.size:
            signed = self._due.pop()
            if signed.root != edge.root:
                first = verdict.first_seq + (verdict.checkpoint.size if verdict.checkpoint else 0)
                what = f"they are not what was signed at size {signed.size}: records and hashes were written anew"
                _fault(verdict, f"records {first} to {verdict.first_seq + index}: ", what, first)
                return False
            verdict.checkpoint = signed
            self._sizes.append(signed.size)
        return True

    def _check_upper(self, tree: TreeFiles) -> None:
        """The stored hashes of larger subtrees are those of their leaves, as far as they were signed."""
        size = self._verdict.checkpoint.size if self._verdict.checkpoint and not self._verdict.problem else 0
        level = 1
        while size := size >> 8:
            for index in range(size):
                if tree.hashes(level, index, 1) != fold(tree.hashes(level - 1, index << 8, 256)):
                    _fault(self._verdict, f"{self._log.tree / str(level)}: ", f"hash {index + 1} is not its leaves'")
                    return
            level += 1

    def _end(self) -> None:
        verdict = self._verdict
        if verdict.problem:
            return
        if self._due:
            missing = verdict.first_seq + verdict.records
            what = f"it is missing: {self._due[0].size} records were signed and {verdict.records} are here"
            _fault(verdict, f"record {missing}: ", what, missing)
        self._check_rotations()
        if not verdict.checkpoints:
            _fault(verdict, "", "it has no checkpoint, which every log has from its first record on")
        verdict.unsigned = verdict.records - (verdict.checkpoint.size if verdict.checkpoint else 0)

    def _check_rotations(self) -> None:
        """A record that names another key was heeded: the one that was given up signs nothing after it."""
        heeded = self.succession.lines if self.succession else frozenset()
        for index, line in self._rotated:
            if line in heeded:
                continue
            seq = self._verdict.first_seq + index
            if sum(size > index for size in self._sizes) > 1:
                what = f"it names another key, and the one before signed on: it is not in {self._log.rotations_file}"
                _fault(self._verdict, f"record {seq}: ", what, seq)
            else:
                self._verdict.notes.append(f"record {seq} names another key, which has signed nothing yet")

    def judge_dropped(self, through: int) -> None:
        """Records that are not there any more were dropped by a record that says so, in this log or a later one."""
        verdict = self._verdict
        last = verdict.first_seq + verdict.dropped - 1
        if verdict.problem or not verdict.dropped:
            return
        if through < last:
            missing = max(verdict.first_seq, through + 1)
            what = f"it is missing, and no {PRUNED} record says that its time was over"
            _fault(verdict, f"record {missing}: ", what, missing)
        else:
            verdict.notes.append(f"records up to {last} were dropped when their time was over; their hashes hold")
