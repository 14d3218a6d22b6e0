"""Do exported audit records hold? Judged by the export and a public key alone; names the first that does not."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency.checkpoint import Checkpoint, split_note
from eleagent.transparency.merkle import check_inclusion, leaf_hash
from eleagent.transparency.note import VerifierKey, open_checkpoint
from eleagent.transparency.succession import follow
from eleagent.wire.audit import AuditRecord, LogProof, ProvenRecord

_item = msgspec.json.Decoder(LogProof | ProvenRecord)
_record = msgspec.json.Decoder(AuditRecord)


@dataclass
class ExportVerdict:
    """`checkpoints` are the newest of each log. `left_out` records lie between the first and the last. `problem` is
    empty when all holds; `record` is the first bad one's seq, if known.
    """

    records: int = 0
    first_seq: int = 0
    last_seq: int = 0
    left_out: int = 0
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    problem: str = ""
    record: int = 0

    @property
    def holds(self) -> bool:
        return not self.problem


def verify_export(lines: Iterable[bytes], *, keys: Sequence[VerifierKey] = ()) -> ExportVerdict:
    """Without `keys` the first key that the export names is believed."""
    check = _Check(keys)
    for number, line in enumerate(lines, 1):
        try:
            check.take(line)
        except (TamperFound, BadRequest) as err:
            check.verdict.problem = f"line {number}: {err.message}"
            return check.verdict
        except (msgspec.MsgspecError, UnicodeError, binascii.Error) as err:
            check.verdict.problem = f"line {number} can't be read: {err}"
            return check.verdict
    if not check.verdict.records and not check.verdict.checkpoints:
        check.verdict.problem = "nothing is in it"
    return check.verdict


class _Check:
    def __init__(self, keys: Sequence[VerifierKey]) -> None:
        self.verdict = ExportVerdict()
        self._given = bool(keys)
        self._trusted = {key.public for key in keys}
        self._begins: dict[str, int] = {}

    def take(self, line: bytes) -> None:
        item = _item.decode(line)
        if isinstance(item, LogProof):
            self._take_log(item)
        else:
            self._take_record(item)

    def _take_log(self, log: LogProof) -> None:
        """Its checkpoint, signed by the key whose turn it is, which a trusted one leads to."""
        keys = [VerifierKey.parse(key) for key in log.keys]
        if not keys:
            raise TamperFound(f"the log {log.origin} has no key")
        succession = follow(keys[0], log.rotations)
        if succession.keys != keys:
            raise TamperFound(f"the log {log.origin} has a key that no record names")
        size = Checkpoint.parse(split_note(log.note)[0]).size
        known = [key for key in succession.keys if key.public in self._trusted] if self._given else keys[:1]
        signer = succession.signer_at(size, known)
        if signer is None:
            raise TamperFound(f"the log {log.origin} is signed by no key that is trusted")
        checkpoint = open_checkpoint(log.note, [signer])
        if checkpoint.origin != log.origin:
            raise TamperFound(f"the checkpoint is of another log, {checkpoint.origin}")
        self.verdict.checkpoints[log.origin] = checkpoint
        self._trusted.add(succession.keys[-1].public)  # the next log goes on with it

    def _take_record(self, item: ProvenRecord) -> None:
        verdict, line = self.verdict, item.line.encode()
        record = _record.decode(line)
        verdict.record = record.seq
        if record.seq <= verdict.last_seq:
            raise TamperFound(f"record {record.seq} follows record {verdict.last_seq}")
        checkpoint = verdict.checkpoints.get(item.origin)
        if checkpoint is None:
            raise TamperFound(f"record {record.seq} is of the log {item.origin}, which is not here")
        if self._begins.setdefault(item.origin, record.seq - item.index) != record.seq - item.index:
            raise TamperFound(f"record {record.seq} is in another one's place")
        if item.path is None:
            raise TamperFound(f"record {record.seq} is under no checkpoint: nothing proves it")
        path = [_hash(one) for one in item.path]
        try:
            check_inclusion(leaf_hash(line), item.index, checkpoint.size, path, checkpoint.root)
        except TamperFound:
            where = f"the log {item.origin} as it was signed at size {checkpoint.size}"
            raise TamperFound(f"record {record.seq} is not in {where}: it was changed, or its proof was") from None
        verdict.left_out += record.seq - verdict.last_seq - 1 if verdict.records else 0
        verdict.first_seq = verdict.first_seq or record.seq
        verdict.last_seq, verdict.record = record.seq, 0
        verdict.records += 1


def _hash(text: str) -> bytes:
    """Raises TamperFound for what is not in the one form that a hash has."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise TamperFound(f"{text!r} is no hash in its proper form")
    return found
