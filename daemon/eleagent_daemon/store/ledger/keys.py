"""Which secrets does the audit log stand on: the key that signs checkpoints, and the one that seals what is secret?"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from eleagent.errors import AuditUnavailable
from eleagent.transparency.note import Signer
from eleagent_daemon.store.durable import discard, open_beside, put

_SEED_BYTES: Final = 32
SIGNING_KEY: Final = "audit-signing-key"
SEALING_KEY: Final = "audit-sealing-key"


@dataclass(frozen=True)
class Keys:
    signer: Signer
    sealing: bytes

    @classmethod
    def load(cls, folder: Path) -> Keys:
        """Blocking. Each key has a file of its own (0600), made at the first start. Raises AuditUnavailable."""
        return cls(Signer(_load(folder / SIGNING_KEY)), _load(folder / SEALING_KEY))

    def seal(self, value: str) -> str:
        """What the log says of a secret: the same for the same one, and nothing about it."""
        return "hmac:" + hmac.new(self.sealing, value.encode(errors="surrogateescape"), sha256).hexdigest()[:32]


def _load(path: Path) -> bytes:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        if (mode := path.stat().st_mode & 0o777) & 0o077:
            raise AuditUnavailable(f"{path} may be read by others (mode {mode:o}): chmod 600 {path}")
        seed = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as err:
        raise AuditUnavailable(f"{path}: the key can't be read: {err}") from None
    if len(seed) != _SEED_BYTES:
        raise AuditUnavailable(f"{path}: a key has {_SEED_BYTES} bytes in hex, this has {len(seed)}")
    return seed


def _make(path: Path) -> None:
    file = open_beside(path, mode=0o600)
    try:
        file.write(secrets.token_hex(_SEED_BYTES).encode() + b"\n")
        put(file, path)
    finally:
        discard(file)
