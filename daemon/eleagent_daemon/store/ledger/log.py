"""How does one log get its records? In groups, each durable before it counts; hashes and checkpoints follow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.logfiles import LogFolder, TreeFiles, fold, lines, segment_name
from eleagent.transparency.merkle import HASH_BYTES, Frontier, inclusion_proof, leaf_hash, root
from eleagent.transparency.note import VerifierKey, open_checkpoint
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.succession import KEY_ROTATED
from eleagent.wire.audit import AuditRecord, KeyRotation
from eleagent_daemon.store.durable import replace, sync_folder, write_all, write_at, write_new
from eleagent_daemon.store.ledger.entry import entry, placed
from eleagent_daemon.store.ledger.keys import Keys
from eleagent_daemon.store.ledger.reading import read_line

SEGMENT_RECORDS: Final = 1 << 16
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditRecord)


class Log:
    """The one writer of a log; everything here blocks and belongs in one thread.

    After an OSError nothing is known of what the disk holds: close it and open another.
    """

    def __init__(self, folder: LogFolder, *, keys: Keys) -> None:
        self.folder = folder
        self.torn_bytes = 0
        self.note = ""
        self._keys = keys
        self._fd = -1
        self._segment = (0, "")
        self.origin, self.first_seq = folder.name()
        self.last_seq = self.first_seq - 1
        self.head = ""
        self.signed: Checkpoint | None = None
        self._edge = Frontier()
        self._leaves: list[bytes] = []

    @classmethod
    def create(cls, path: Path, *, origin: str, first_seq: int, keys: Keys, first: AuditRecord) -> Log:
        """A log with its first record, signed. It is there whole or not at all."""
        new = path.with_name(f".{path.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        folder = LogFolder(new)
        for part in (new, folder.records, folder.tree):
            part.mkdir(mode=0o700, parents=True)
        line = _encoder.encode(placed(first, first_seq, ""))
        write_new(new / "name", f"{origin}\n{first_seq}\n".encode())
        write_new(new / "first", line)
        write_new(folder.keys_file, f"{keys.signer.verifier(origin)}\n".encode())
        write_new(folder.records / segment_name(first_seq), line + b"\n")
        write_new(folder.tree / "0", leaf_hash(line))
        signed = Checkpoint(origin, 1, leaf_hash(line))
        write_new(folder.checkpoints, keys.signer.sign(signed.text, origin).encode())
        for part in (folder.records, folder.tree, new):
            sync_folder(part)
        new.rename(path)
        sync_folder(path.parent)
        return cls.open(path, keys=keys)

    @classmethod
    def open(cls, path: Path, *, keys: Keys) -> Log:
        """Take up a log where it ends: what a writer tore off is cut, what does not fit the last checkpoint refused.

        Raises TamperFound, OSError. Records before the last checkpoint are judged by their hashes; `verify` reads them.
        """
        log = cls(LogFolder(path), keys=keys)
        try:
            log._recover()
        except BaseException:
            log.close()
            raise
        return log

    @property
    def size(self) -> int:
        return self.last_seq - self.first_seq + 1

    @property
    def unsigned(self) -> int:
        return self.size - (self.signed.size if self.signed else 0)

    def append(self, entries: Sequence[AuditRecord]) -> int:
        """Make the entries durable, in order; returns the seq of the first. Raises OSError."""
        self._turn_over(entries[0].ts[:7])
        seq, head = self.last_seq, self.head
        written: list[bytes] = []
        leaves: list[bytes] = []
        for record in entries:
            seq += 1
            line = _encoder.encode(placed(record, seq, head))
            leaf = leaf_hash(line)
            head = leaf.hex()
            leaves.append(leaf)
            written += (line, b"\n")
        write_all(self._fd, b"".join(written))
        os.fdatasync(self._fd)
        first = self.last_seq + 1
        self.last_seq, self.head = seq, head
        self._leaves += leaves
        return first

    def checkpoint(self) -> str | None:
        """Sign the log as it is; the note, or None where nothing came since the last. Raises OSError."""
        if not self._leaves:
            return None
        self._grow_tree()
        signed = Checkpoint(self.origin, self._edge.size, self._edge.root)
        note = self._keys.signer.sign(signed.text, self.origin)
        fd = os.open(self.folder.checkpoints, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, note.encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self.signed, self.note = signed, note
        return note

    def rotate_key(self, *, actor: str) -> None:
        """Go on under another key, which a record names that the one before signs. Raises OSError: `open` then ends
        what was begun.
        """
        key = self._keys.prepare().verifier(self.origin)
        self.append(
            [entry(phase="event", action=KEY_ROTATED, actor=actor, decision="allowed", details={"key": str(key)})]
        )
        self._hand_over()

    def _hand_over(self) -> None:
        """The last record names the key that comes next. What was done of it is done again."""
        self.checkpoint()
        assert self._keys.next is not None  # noqa: S101 - a record names it
        assert self.signed is not None  # noqa: S101 - the record is signed
        key = self._keys.next.verifier(self.origin)
        named = self.folder.keys()
        if key not in named:
            index = self.size - 1
            with TreeFiles(self.folder.tree) as tree:
                proof = InclusionProof(index, inclusion_proof(tree, index, self.signed.size), self.note)
            rotation = KeyRotation(read_line(self.folder, self.last_seq).decode(), str(proof))
            rotations = [*self.folder.rotations(), rotation]
            replace(self.folder.rotations_file, b"".join(_encoder.encode(one) + b"\n" for one in rotations))
        self._keys.adopt()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _turn_over(self, month: str) -> None:
        """A new segment when this one is full or of an earlier month: retention takes whole ones."""
        first, began = self._segment
        if self.last_seq - first + 1 < SEGMENT_RECORDS and month == began:
            return
        path = self.folder.records / segment_name(self.last_seq + 1)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.close()
        self._fd, self._segment = fd, (self.last_seq + 1, month)
        sync_folder(self.folder.records)

    def _grow_tree(self) -> None:
        """Hashes of the leaves since the last checkpoint, and of each row of 256 that they made whole."""
        begin = self._edge.size
        for leaf in self._leaves:
            self._edge.add(leaf)
        write_at(self.folder.tree / "0", begin * HASH_BYTES, b"".join(self._leaves))
        self._leaves = []
        size, level = self._edge.size, 1
        with TreeFiles(self.folder.tree) as tree:
            while (begin := begin >> 8) < (size := size >> 8):
                rows = (tree.hashes(level - 1, index << 8, 256) for index in range(begin, size))
                write_at(self.folder.tree / str(level), begin * HASH_BYTES, b"".join(map(fold, rows)))
                level += 1
        if level > 1:
            sync_folder(self.folder.tree)

    def _recover(self) -> None:
        self._read_last_note()
        size = self.signed.size if self.signed else 0
        with TreeFiles(self.folder.tree) as tree:
            if tree.leaves < size:
                raise TamperFound(f"{self.folder.tree / '0'} has {tree.leaves} hashes, {size} were signed")
            if self.signed and root(tree, size) != self.signed.root:
                raise TamperFound(f"{self.folder.tree}: the hashes are not those that were signed at size {size}")
            self._edge = Frontier.at(tree, size)
            self.head = tree.hashes(0, size - 1, 1).hex() if size else ""
        self._truncate_tree(size)
        self.last_seq = self.first_seq + size - 1
        self._read_tail(size)
        if self._keys.next is not None:
            self._end_rotation(self._keys.next.verifier(self.origin))

    def _end_rotation(self, key: VerifierKey) -> None:
        """A writer died, or a disk refused, while the key was being rotated: it was where the last record names it."""
        last = _decoder.decode(read_line(self.folder, self.last_seq))
        if last.action == KEY_ROTATED and last.details.get("key") == str(key):
            self._hand_over()
        else:
            self._keys.drop()

    def _read_last_note(self) -> None:
        keys = self.folder.keys()
        ours = [one.verifier(self.origin) for one in (self._keys.signer, self._keys.next) if one is not None]
        if keys[-1] not in ours:
            raise TamperFound(f"{self.folder.keys_file} does not have the key that this daemon signs with")
        try:
            fd = os.open(self.folder.checkpoints, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            end = 0
            for note in self.folder.notes():
                self.note = note
                end += len(note.encode())
            if end < os.fstat(fd).st_size:
                os.ftruncate(fd, end)
                os.fdatasync(fd)
        except UnicodeDecodeError:
            raise TamperFound(f"{self.folder.checkpoints} is no text") from None
        finally:
            os.close(fd)
        if self.note:
            self.signed = open_checkpoint(self.note, keys)
            if self.signed.origin != self.origin:
                raise TamperFound(f"{self.folder.checkpoints}: the last one is of another log, {self.signed.origin}")

    def _truncate_tree(self, size: int) -> None:
        """What is after the last checkpoint is made again from the records."""
        for path in self.folder.tree.iterdir():
            keep = (size >> 8 * int(path.name)) * HASH_BYTES
            if path.stat().st_size > keep:
                os.truncate(path, keep)

    def _read_tail(self, size: int) -> None:
        """Every record since the last checkpoint."""
        segments = self.folder.segments()
        wanted = self.first_seq + size
        started = [number for number, (seq, _) in enumerate(segments) if seq <= wanted]
        if not started:
            raise TamperFound(f"record {wanted} is missing: there is no segment with it")
        for number in range(started[-1], len(segments)):
            self._read_segment(*segments[number], last=number == len(segments) - 1)

    def _read_segment(self, seq: int, path: Path, *, last: bool) -> None:
        begun, at, end = seq, seq - 1, 0
        month = ""
        for line in lines(path):
            if line[-1:] != b"\n":
                break
            at, end = at + 1, end + len(line)
            if not month:
                month = _month(line)
            if at > self.last_seq:
                self._take(line[:-1], at, path)
        if at < self.last_seq or (not last and path.stat().st_size != end):
            raise TamperFound(f"{path}: record {at + 1} is missing")
        if last:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            self.torn_bytes = os.fstat(self._fd).st_size - end
            if self.torn_bytes:
                os.ftruncate(self._fd, end)
            os.fdatasync(self._fd)  # what a writer that died had written may not be on the disk yet
            self._segment = (begun, month)

    def _take(self, line: bytes, seq: int, path: Path) -> None:
        try:
            record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise TamperFound(f"{path}: record {seq} can't be read") from None
        if record.seq != seq or record.prev != self.head:
            raise TamperFound(f"{path}: record {seq} was changed or is missing")
        leaf = leaf_hash(line)
        self.last_seq, self.head = seq, leaf.hex()
        self._leaves.append(leaf)


def _month(line: bytes) -> str:
    """Of a record that may be spoilt: then a new segment begins after it."""
    try:
        return _decoder.decode(line).ts[:7]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "?"
