"""Who says that a log has this size and root? Keys, and what they signed (c2sp.org/signed-note)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency import ed25519
from eleagent.transparency.checkpoint import ID_BYTES, MARK, Checkpoint, split_note

ED25519: Final = b"\x01"


class VerifierKey(msgspec.Struct, frozen=True):
    """A log's public key under its name, as `<name>+<id>+<key>`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Raises BadRequest for what is none."""
        name, _, rest = text.strip().partition("+")
        encoded = rest.partition("+")[2]
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raw = b""
        key = cls(name, raw[1:])
        if any(map(str.isspace, name)) or raw[:1] != ED25519 or len(raw) != 33 or str(key) != text.strip() or not name:
            raise BadRequest(f"{text.strip()[:100]!r} is no verifier key of the form NAME+ID+KEY")
        return key


class Signer:
    """An Ed25519 private key. It signs under the name of the log that it is asked for."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._public = ed25519.public_key(seed)

    def verifier(self, name: str) -> VerifierKey:
        return VerifierKey(name, self._public)

    def sign(self, text: str, name: str) -> str:
        """`text` as a note; it ends with a newline."""
        signature = base64.b64encode(self.verifier(name).id + ed25519.sign(self._seed, text.encode())).decode()
        return f"{text}\n{MARK}{name} {signature}\n"


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint that one of the keys signed. Raises TamperFound unless it was.

    The origin has to be the name of the key: one key may serve several logs, and a checkpoint counts in its own alone.
    """
    text, signatures = split_note(note)
    checkpoint = Checkpoint.parse(text)
    known = {(key.name, key.id): key for key in keys}
    signed = False
    for name, signature in signatures:
        key = known.get((name, signature[:ID_BYTES]))
        if key is None or name != checkpoint.origin:
            continue
        if not ed25519.verifies(key.public, signature[ID_BYTES:], text.encode()):
            raise TamperFound(f"the signature of {name} at size {checkpoint.size} does not hold")
        signed = True
    if not signed:
        names = ", ".join(sorted({name for name, _ in signatures}))
        raise TamperFound(f"the checkpoint at size {checkpoint.size} is signed by no key that is trusted (by {names})")
    return checkpoint
