"""How does one log get its records? In groups, each durable before it counts; hashes and checkpoints follow."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import TamperFound
from eleagent.transparency.logfiles import LogFolder, TreeFiles, fold, lines, segment_name
from eleagent.transparency.merkle import HASH_BYTES, Frontier, leaf_hash, root
from eleagent.transparency.note import Checkpoint, Signer, open_checkpoint
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.durable import sync_folder
from eleagent_daemon.store.ledger.entry import Entry

SEGMENT_RECORDS: Final = 1 << 16
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditRecord)


class Log:
    """The one writer of a log; everything here blocks and belongs in one thread.

    After an OSError nothing is known of what the disk holds: close it and open another.
    """

    def __init__(self, folder: LogFolder, *, signer: Signer) -> None:
        self.folder = folder
        self.torn_bytes = 0
        self.note = ""
        self._signer = signer
        self._fd = -1
        self._segment = (0, "")
        self.origin, self.first_seq = folder.name()
        self.last_seq = self.first_seq - 1
        self.head = ""
        self.signed: Checkpoint | None = None
        self._edge = Frontier()
        self._leaves: list[bytes] = []

    @classmethod
    def create(cls, path: Path, *, origin: str, first_seq: int, signer: Signer, first: Entry) -> Log:
        """A log with its first record, signed. It is there whole or not at all."""
        new = path.with_name(f".{path.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        folder = LogFolder(new)
        for part in (new, folder.records, folder.tree):
            part.mkdir(mode=0o700, parents=True)
        line = _encoder.encode(first.record(first_seq, ""))
        _write_new(new / "name", f"{origin}\n{first_seq}\n".encode())
        _write_new(new / "first", line)
        _write_new(folder.keys_file, f"{signer.verifier(origin)}\n".encode())
        _write_new(folder.records / segment_name(first_seq), line + b"\n")
        _write_new(folder.tree / "0", leaf_hash(line))
        signed = Checkpoint(origin, 1, leaf_hash(line))
        _write_new(folder.checkpoints, signer.sign(signed.text, origin).encode())
        for part in (folder.records, folder.tree, new):
            sync_folder(part)
        new.rename(path)
        sync_folder(path.parent)
        return cls.open(path, signer=signer)

    @classmethod
    def open(cls, path: Path, *, signer: Signer) -> Log:
        """Take up a log where it ends: what a writer tore off is cut, what does not fit the last checkpoint refused.

        Raises TamperFound, OSError. Records before the last checkpoint are judged by their hashes; `verify` reads them.
        """
        log = cls(LogFolder(path), signer=signer)
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

    def append(self, entries: Sequence[Entry]) -> int:
        """Make the entries durable, in order; returns the seq of the first. Raises OSError."""
        self._turn_over(entries[0].ts[:7])
        seq, head = self.last_seq, self.head
        written: list[bytes] = []
        leaves: list[bytes] = []
        for entry in entries:
            seq += 1
            line = _encoder.encode(entry.record(seq, head))
            leaf = leaf_hash(line)
            head = leaf.hex()
            leaves.append(leaf)
            written += (line, b"\n")
        _write_all(self._fd, b"".join(written))
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
        note = self._signer.sign(signed.text, self.origin)
        fd = os.open(self.folder.checkpoints, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, note.encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self.signed, self.note = signed, note
        return note

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
        _store(self.folder.tree / "0", begin, b"".join(self._leaves))
        self._leaves = []
        size, level = self._edge.size, 1
        with TreeFiles(self.folder.tree) as tree:
            while (begin := begin >> 8) < (size := size >> 8):
                rows = (tree.hashes(level - 1, index << 8, 256) for index in range(begin, size))
                _store(self.folder.tree / str(level), begin, b"".join(map(fold, rows)))
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

    def _read_last_note(self) -> None:
        keys = self.folder.keys()
        if self._signer.verifier(self.origin) not in keys:
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


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _store(path: Path, first: int, hashes: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view, offset = memoryview(hashes), first * HASH_BYTES
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _month(line: bytes) -> str:
    """Of a record that may be spoilt: then a new segment begins after it."""
    try:
        return _decoder.decode(line).ts[:7]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "?"
