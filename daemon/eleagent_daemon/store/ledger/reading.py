"""What of a log leaves it, with which proof?"""

from __future__ import annotations

from pathlib import Path

import msgspec

from eleagent.errors import NotFound
from eleagent.transparency.logfiles import LogFolder, TreeFiles, lines, log_folders
from eleagent.transparency.merkle import consistency_proof, inclusion_proof
from eleagent.transparency.note import Checkpoint, split_note
from eleagent.transparency.proof import InclusionProof
from eleagent.wire.audit import AuditEntry, AuditRecord

_decoder = msgspec.json.Decoder(AuditRecord)


def find_log(ledger: Path, seq: int) -> LogFolder:
    """The log that has a record. Raises NotFound, TamperFound."""
    for path in reversed(log_folders(ledger)):
        found = LogFolder(path)
        if found.name()[1] <= seq:
            return found
    raise NotFound(f"there is no audit record {seq}")


def read_entry(ledger: Path, seq: int) -> AuditEntry:
    """Blocking. A record with its proof. Raises NotFound where it is not there (any more)."""
    log = find_log(ledger, seq)
    origin, first_seq = log.name()
    line = _line(log, seq)
    signed, note = _last_checkpoint(log)
    index = seq - first_seq
    proof = ""
    if signed is not None and index < signed.size:
        with TreeFiles(log.tree) as tree:
            proof = str(InclusionProof(index, inclusion_proof(tree, index, signed.size), note))
    return AuditEntry(record=_decoder.decode(line), line=line.decode(), origin=origin, proof=proof)


def read_head(log: LogFolder, old: int, size: int) -> tuple[list[bytes], AuditRecord, list[str]]:
    """Blocking. What leads from `old` to `size`, the log's first record, and its keys."""
    with TreeFiles(log.tree) as tree:
        proof = consistency_proof(tree, old, size)
    return proof, _first(log), list(map(str, log.keys()))


def _last_checkpoint(log: LogFolder) -> tuple[Checkpoint | None, str]:
    if not (note := log.last_note()):
        return None, ""
    return Checkpoint.parse(split_note(note)[0]), note


def _first(log: LogFolder) -> AuditRecord:
    """It outlives retention."""
    return _decoder.decode((log.path / "first").read_bytes())


def _line(log: LogFolder, seq: int) -> bytes:
    for first, path in reversed(log.segments()):
        if first <= seq:
            for number, line in enumerate(lines(path), first):
                if number == seq and line.endswith(b"\n"):
                    return line[:-1]
            break
    raise NotFound(f"there is no audit record {seq}, or its time was over and it was dropped")
