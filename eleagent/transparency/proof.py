"""How does one record leave with its proof? As text that is checked offline (c2sp.org/tlog-proof)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from eleagent.errors import TamperFound
from eleagent.transparency.checkpoint import Checkpoint
from eleagent.transparency.merkle import HASH_BYTES, check_inclusion, leaf_hash
from eleagent.transparency.note import VerifierKey, open_checkpoint

HEADER: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class InclusionProof:
    """That the leaf `index` is in the log of a signed checkpoint."""

    index: int
    path: list[bytes]
    note: str

    def __str__(self) -> str:
        hashes = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.path)
        return f"{HEADER}\nindex {self.index}\n{hashes}\n{self.note}"

    @classmethod
    def parse(cls, text: str) -> InclusionProof:
        """Raises TamperFound for what is none."""
        head, _, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        if lines and lines[0].startswith("extra "):
            del lines[0]
        try:
            found = cls(
                int(lines[0].removeprefix("index ")), [base64.b64decode(one, validate=True) for one in lines[1:]], note
            )
        except (IndexError, ValueError):
            raise TamperFound(f"this is no proof of the form {HEADER}") from None
        if str(found) != "\n".join([first, *lines, "", note]) or any(len(one) != HASH_BYTES for one in found.path):
            raise TamperFound(f"this is no proof in its proper form ({HEADER})")
        return found

    def check(self, entry: bytes, keys: Iterable[VerifierKey]) -> Checkpoint:
        """The checkpoint that vouches for `entry`. Raises TamperFound when none does."""
        checkpoint = open_checkpoint(self.note, keys)
        check_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint
