"""Which key may sign a log at which size? Each key names the next in a record, under the last checkpoint it signs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.logfiles import named_key
from eleagent.transparency.note import VerifierKey
from eleagent.transparency.proof import InclusionProof
from eleagent.wire.audit import AuditRecord, KeyRotation

KEY_ROTATED: Final = "audit.key_rotated"
_record = msgspec.json.Decoder(AuditRecord)


@dataclass(frozen=True)
class Succession:
    """The keys of one log, oldest first. `last_signed[n]` is the last checkpoint of `keys[n]`; the newest has none."""

    keys: list[VerifierKey]
    last_signed: list[Checkpoint] = field(default_factory=list)
    lines: frozenset[bytes] = frozenset()

    @property
    def newest(self) -> VerifierKey:
        return self.keys[-1]

    def number_at(self, size: int) -> int:
        """Which key's signature counts at this size, and no other: an older one may be in other hands by now."""
        return sum(size > last.size for last in self.last_signed)

    def first_of(self, known: Iterable[VerifierKey]) -> int | None:
        """The first key that is one of those. What it or a later one signs vouches for all before it, too: that is in
        the same tree.
        """
        public = {key.public for key in known}
        return next((number for number, key in enumerate(self.keys) if key.public in public), None)

    def signer_at(self, size: int, known: Iterable[VerifierKey]) -> VerifierKey | None:
        """The key that signs at this size, where it is known or came after one that is."""
        first, number = self.first_of(known), self.number_at(size)
        return None if first is None or number < first else self.keys[number]


def follow(first: VerifierKey, rotations: Sequence[KeyRotation]) -> Succession:
    """From a log's first key to its newest. Raises TamperFound where a key was not named by the one before it."""
    keys = [first]
    last_signed: list[Checkpoint] = []
    lines: list[bytes] = []
    for number, rotation in enumerate(rotations, 1):
        where = f"rotation {number} of the log's key"
        try:
            line = rotation.line.encode()
            signed = InclusionProof.parse(rotation.proof).check(line, keys[-1:])
            record, named = _record.decode(line), named_key(rotation)
        except (TamperFound, BadRequest) as err:
            raise TamperFound(f"{where}: {err.message}") from None
        except (msgspec.DecodeError, UnicodeError) as err:
            raise TamperFound(f"{where}: its record can't be read: {err}") from None
        if record.action != KEY_ROTATED or named.name != first.name:
            raise TamperFound(f"{where}: record {record.seq} names no other key of this log")
        if last_signed and signed.size <= last_signed[-1].size:
            raise TamperFound(f"{where}: size {signed.size} does not follow {last_signed[-1].size}")
        keys.append(named)
        last_signed.append(signed)
        lines.append(line)
    return Succession(keys, last_signed, frozenset(lines))
