"""Who says that a log has this size and root? Checkpoints as signed notes (c2sp.org/signed-note, tlog-checkpoint)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency import ed25519
from eleagent.transparency.merkle import HASH_BYTES

ED25519: Final = b"\x01"
MARK: Final = "— "
_ID_BYTES: Final = 4
_NOTE_BYTES: Final = 1 << 16
"""More is no checkpoint of anybody's."""


@dataclass(frozen=True)
class VerifierKey:
    """A log's public key under its name, as `<name>+<id>+<key>`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:_ID_BYTES]

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


@dataclass(frozen=True)
class Checkpoint:
    """What a log is, at one moment: the root over its first `size` records."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint in a note's text. Raises TamperFound for what is none."""
        lines = text.split("\n")
        try:
            found = cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True))
        except (IndexError, ValueError):
            raise TamperFound("this is no checkpoint: it lacks an origin, a size or a root") from None
        if not found.origin or found.size < 0 or len(found.root) != HASH_BYTES or found.text != text:
            raise TamperFound(f"this is no checkpoint in its proper form: {text[:200]!r}")
        return found


def split_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and its signatures by name. Raises TamperFound for what is no note."""
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or len(note) > _NOTE_BYTES:
        raise TamperFound("this is no signed note: a text, an empty line and signatures")
    found = []
    for line in lines[:-1].split("\n"):
        name, _, encoded = line.removeprefix(MARK).partition(" ")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            signature = b""
        if not name or len(signature) <= _ID_BYTES or line != f"{MARK}{name} {base64.b64encode(signature).decode()}":
            raise TamperFound(f"this is no signature of a note: {line[:100]!r}")
        found.append((name, signature))
    return text + "\n", found


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """The checkpoint that one of the keys signed. Raises TamperFound unless it was.

    The origin has to be the name of the key: one key may serve several logs, and a checkpoint counts in its own alone.
    """
    text, signatures = split_note(note)
    checkpoint = Checkpoint.parse(text)
    known = {(key.name, key.id): key for key in keys}
    signed = False
    for name, signature in signatures:
        key = known.get((name, signature[:_ID_BYTES]))
        if key is None or name != checkpoint.origin:
            continue
        if not ed25519.verifies(key.public, signature[_ID_BYTES:], text.encode()):
            raise TamperFound(f"the signature of {name} at size {checkpoint.size} does not hold")
        signed = True
    if not signed:
        names = ", ".join(sorted({name for name, _ in signatures}))
        raise TamperFound(f"the checkpoint at size {checkpoint.size} is signed by no key that is trusted (by {names})")
    return checkpoint
