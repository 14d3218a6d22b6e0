"""Where does a log lie on the disk, and how is it read?

    ledger/log-0001/name            its origin, and the seq of its first record
                    first           that record, which outlives retention
                    keys            its first verifier key
                    rotations       the records that name them from the second on, each with its proof
                    records/…jsonl  segments of records, named for the seq of their first one
                    tree/0 1 2 …    hashes of complete subtrees of 256**N leaves, 32 bytes each
                    checkpoints     signed notes, in order

Retention takes the oldest segments; all else stays. A later log (log-0002) goes on where its first record
says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency.checkpoint import MARK
from eleagent.transparency.merkle import HASH_BYTES
from eleagent.transparency.note import VerifierKey
from eleagent.wire.audit import AuditRecord, KeyRotation

TILE_BITS: Final = 8
_BLOCK: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16
_FOLDER = re.compile(r"log-(\d{4,})")
_SEGMENT = re.compile(r"(\d{16})\.jsonl")
_rotation = msgspec.json.Decoder(KeyRotation)
_record = msgspec.json.Decoder(AuditRecord)


def log_folders(ledger: Path) -> list[Path]:
    """The logs below `ledger`, oldest first."""
    found = [path for path in ledger.iterdir() if _FOLDER.fullmatch(path.name)] if ledger.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def named_key(rotation: KeyRotation) -> VerifierKey:
    """The key that a record names. Raises TamperFound."""
    try:
        return VerifierKey.parse(_record.decode(rotation.line.encode()).details.get("key", ""))
    except (msgspec.DecodeError, UnicodeError, BadRequest):
        raise TamperFound("a record that is to name the log's next key names none") from None


def segment_name(first_seq: int) -> str:
    return f"{first_seq:016d}.jsonl"


@dataclass(frozen=True)
class LogFolder:
    """One log's files. Raises TamperFound for what can't be one."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name.partition("-")[2])

    @property
    def records(self) -> Path:
        return self.path / "records"

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def keys_file(self) -> Path:
        return self.path / "keys"

    def name(self) -> tuple[str, int]:
        """The origin, and the seq of the first record."""
        try:
            origin, first, end = (self.path / "name").read_text().split("\n")
            number = int(first)
        except (OSError, ValueError):
            origin, number, end = "", 0, ""
        if end or not origin or number < 1:
            raise TamperFound(f"{self.path / 'name'} does not say the log's origin and first record")
        return origin, number

    def first_key(self) -> VerifierKey:
        with suppress(OSError, ValueError, BadRequest):
            match self.keys_file.read_bytes().decode().split("\n"):
                case [line, ""]:
                    return VerifierKey.parse(line)
        raise TamperFound(f"{self.keys_file} with the log's first verifier key can't be read")

    def keys(self) -> list[VerifierKey]:
        """The newest last, as the files say: who is to believe it follows them."""
        return [self.first_key(), *map(named_key, self.rotations())]

    @property
    def rotations_file(self) -> Path:
        return self.path / "rotations"

    def rotations(self) -> list[KeyRotation]:
        try:
            return [_rotation.decode(line) for line in self.rotations_file.read_bytes().splitlines()]
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            raise TamperFound(f"{self.rotations_file} with the records that name other keys can't be read") from None

    def segments(self) -> list[tuple[int, Path]]:
        """(seq of the first record, file), in order."""
        found = [(int(match[1]), path) for path in self.records.iterdir() if (match := _SEGMENT.fullmatch(path.name))]
        return sorted(found)

    def notes(self) -> Iterator[str]:
        """The signed notes in order; what is after the last whole one is none."""
        with self.checkpoints.open(encoding="utf-8", newline="\n") as file:
            yield from split_notes(file)

    def last_note(self) -> str:
        """The newest signed note; empty where there is none."""
        try:
            with self.checkpoints.open("rb") as file:
                file.seek(max(0, self.checkpoints.stat().st_size - _TAIL_BYTES))
                tail = file.read().decode(errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            return ""
        return max(enumerate(split_notes(tail)), default=(0, ""))[1]


def split_notes(lines: Iterable[str]) -> Iterator[str]:
    """Signed notes that follow one another, each of lines with their ends."""
    note: list[str] = []
    for line in lines:
        if note and note[-1].startswith(MARK) and not line.startswith(MARK):
            yield "".join(note)
            note = []
        note.append(line)
    if len(note) > 1 and note[-1].startswith(MARK) and note[-1].endswith("\n"):
        yield "".join(note)


def lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """Lines from a byte on, each with its newline; the last may lack one."""
    with path.open("rb", buffering=_BLOCK) as file:
        file.seek(offset)
        yield from file


class TreeFiles:
    """The hashes of a log's complete subtrees (`merkle.Nodes`). Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}

    def __enter__(self) -> TreeFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    @property
    def leaves(self) -> int:
        """How many leaf hashes are there."""
        try:
            return (self._folder / "0").stat().st_size // HASH_BYTES
        except FileNotFoundError:
            return 0

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """Stored hashes in a row: of subtrees of 256**level leaves. Raises TamperFound where they are missing."""
        try:
            if level not in self._files:
                self._files[level] = os.open(self._folder / str(level), os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._files[level], count * HASH_BYTES, first * HASH_BYTES)
        except FileNotFoundError:
            data = b""
        if len(data) != count * HASH_BYTES:
            raise TamperFound(f"{self._folder / str(level)} is too short: hash {first + count} is missing")
        return data

    def node(self, level: int, index: int) -> bytes:
        bits = level % TILE_BITS
        row = self.hashes(level // TILE_BITS, index << bits, 1 << bits)
        return fold(row)


def fold(row: bytes) -> bytes:
    """The hash over a complete row of hashes."""
    pair = 2 * HASH_BYTES
    while len(row) > HASH_BYTES:
        row = b"".join([sha256(b"\x01" + row[at : at + pair]).digest() for at in range(0, len(row), pair)])
    return row
