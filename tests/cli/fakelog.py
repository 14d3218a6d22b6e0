"""An audit log in memory that shows itself to clients as a daemon's does, and can be rewritten as by root."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import msgspec

from eleagent.errors import NotFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.merkle import consistency_proof, inclusion_proof, leaf_hash, node_hash, root
from eleagent.transparency.note import Signer, VerifierKey
from eleagent.transparency.proof import InclusionProof
from eleagent.wire.audit import AuditRecord, KeyRotation, LogHead

from .fakedaemon import NOW, Call

SIGNER = Signer(bytes(32))
BEGUN = AuditRecord(seq=1, ts=NOW, phase="event", action="audit.begun", actor="eleagentd")


@dataclass
class FakeLog:
    entries: list[bytes] = field(default_factory=lambda: [b"%d" % number for number in range(300)])
    origin: str = "eleagent/x/1"
    signer: Signer = SIGNER
    begins: AuditRecord = BEGUN
    proofs: int = 0
    keys: list[VerifierKey] = field(default_factory=list)
    rotations: list[KeyRotation] = field(default_factory=list)

    def node(self, level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(self.entries[index])
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))

    @property
    def head(self) -> Checkpoint:
        return Checkpoint(self.origin, len(self.entries), root(self, len(self.entries)))

    def header(self) -> str:
        return f"{self.origin} {self.head.size} {base64.b64encode(self.head.root).decode()}"

    def answer(self, call: Call) -> LogHead:
        """Counted when it is made: a test that waits for it may change the log then."""
        try:
            return self._proved(call)
        finally:
            self.proofs += 1

    def _proved(self, call: Call) -> LogHead:
        old = int(call.query.get("from_size", 0))
        if old > len(self.entries):
            raise NotFound("there is no such size")
        return LogHead(
            note=self.signer.sign(self.head.text, self.origin),
            keys=[str(key) for key in self.keys or [self.signer.verifier(self.origin)]],
            rotations=self.rotations,
            first_seq=self.begins.seq,
            begins=self.begins,
            consistency=[base64.b64encode(one).decode() for one in consistency_proof(self, old, len(self.entries))],
        )

    def rotate(self, signer: Signer, *, by: Signer) -> None:
        """Go on under `signer`, which a record names that `by` signs."""
        key = signer.verifier(self.origin)
        record = AuditRecord(
            seq=len(self.entries) + 1, ts=NOW, phase="event", action="audit.key_rotated", actor="root",
            details={"key": str(key)},
        )  # fmt: skip
        self.entries.append(msgspec.json.encode(record))
        path = inclusion_proof(self, len(self.entries) - 1, len(self.entries))
        proof = InclusionProof(len(self.entries) - 1, path, by.sign(self.head.text, self.origin))
        self.rotations.append(KeyRotation(self.entries[-1].decode(), str(proof)))
        self.keys = [self.signer.verifier(self.origin), key]
        self.signer = signer
