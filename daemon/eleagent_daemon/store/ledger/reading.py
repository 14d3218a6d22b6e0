"""What of a log leaves it, with which proof?"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import msgspec

from eleagent.errors import NotFound
from eleagent.transparency.checkpoint import Checkpoint, split_note
from eleagent.transparency.logfiles import LogFolder, TreeFiles, lines, log_folders
from eleagent.transparency.merkle import consistency_proof, inclusion_proof
from eleagent.transparency.proof import InclusionProof
from eleagent.wire.audit import AuditEntry, AuditRecord, LogHead, LogProof, ProvenRecord
from eleagent_daemon.store.ledger.index import Found

_decoder = msgspec.json.Decoder(AuditRecord)


def find_log(ledger: Path, seq: int) -> LogFolder:
    """The log that has a record. Raises NotFound, TamperFound."""
    for path in reversed(log_folders(ledger)):
        found = LogFolder(path)
        if found.name()[1] <= seq:
            return found
    raise NotFound(f"there is no audit record {seq}")


def read_line(log: LogFolder, seq: int) -> bytes:
    """A record as it was hashed. Raises NotFound."""
    for first, path in reversed(log.segments()):
        if first <= seq:
            for number, line in enumerate(lines(path), first):
                if number == seq and line.endswith(b"\n"):
                    return line[:-1]
            break
    raise NotFound(f"there is no audit record {seq}, or its time was over and it was dropped")


def read_entry(ledger: Path, seq: int) -> AuditEntry:
    """Blocking. A record with its proof. Raises NotFound where it is not there (any more)."""
    log = find_log(ledger, seq)
    origin, first_seq = log.name()
    line = read_line(log, seq)
    signed, note = _last_checkpoint(log)
    index = seq - first_seq
    proof = ""
    if signed is not None and index < signed.size:
        with TreeFiles(log.tree) as tree:
            proof = str(InclusionProof(index, inclusion_proof(tree, index, signed.size), note))
    return AuditEntry(record=_decoder.decode(line), line=line.decode(), origin=origin, proof=proof)


def read_head(log: LogFolder, note: str, old: int, size: int) -> LogHead:
    """Blocking. The log's first record, its keys, and what leads from `old` to the checkpoint `note` at `size`."""
    with TreeFiles(log.tree) as tree:
        proof = consistency_proof(tree, old, size)
    begins = _first(log)
    return LogHead(
        note=note,
        keys=list(map(str, log.keys())),
        first_seq=begins.seq,
        begins=begins,
        consistency=[base64.b64encode(one).decode() for one in proof],
        rotations=log.rotations(),
    )


def read_proofs(ledger: Path, found: Sequence[Found]) -> tuple[list[LogProof], list[ProvenRecord]]:
    """Blocking. What proves records that the index found."""
    logs, records = [], []
    for number, group in groupby(found, key=itemgetter(1)):
        log = LogFolder(ledger / f"log-{number:04d}")
        origin, first_seq = log.name()
        signed, note = _last_checkpoint(log)
        if signed is None:
            continue
        logs.append(LogProof(origin=origin, note=note, keys=list(map(str, log.keys())), rotations=log.rotations()))
        with TreeFiles(log.tree) as tree:
            for seq, _, line in group:
                index = seq - first_seq
                path = inclusion_proof(tree, index, signed.size) if index < signed.size else None
                records.append(ProvenRecord(origin=origin, line=line.decode(), index=index, path=_base64(path)))
    return logs, records


def _base64(hashes: list[bytes] | None) -> list[str] | None:
    return None if hashes is None else [base64.b64encode(one).decode() for one in hashes]


def _last_checkpoint(log: LogFolder) -> tuple[Checkpoint | None, str]:
    if not (note := log.last_note()):
        return None, ""
    return Checkpoint.parse(split_note(note)[0]), note


def _first(log: LogFolder) -> AuditRecord:
    """It outlives retention."""
    return _decoder.decode((log.path / "first").read_bytes())
