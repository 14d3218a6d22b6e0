"""Which secrets does the audit log stand on: the key that signs checkpoints, and the one that seals what is secret?"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

from eleagent.errors import AuditUnavailable
from eleagent.transparency.note import Signer
from eleagent_daemon.store.durable import replace, sync_folder

_SEED_BYTES: Final = 32
SIGNING_KEY: Final = "audit-signing-key"
SEALING_KEY: Final = "audit-sealing-key"


class Keys:
    """Blocking. Each key has a file of its own (0600), made at the first start. Raises AuditUnavailable.

    `next` is the signer that is to follow, from `prepare` until the log has named it (`adopt`) or has not (`drop`).
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SIGNING_KEY
        self._next_path = folder / f"{SIGNING_KEY}.next"
        self.signer = Signer(_load(self._path))
        self.next = Signer(_load(self._next_path)) if self._next_path.exists() else None
        self._sealing = _load(folder / SEALING_KEY)

    def prepare(self) -> Signer:
        """Another signer, durable before a record names it. Raises OSError."""
        self._next_path.unlink(missing_ok=True)
        _make(self._next_path)
        self.next = Signer(_load(self._next_path))
        return self.next

    def adopt(self) -> None:
        """Sign with the next one, and have the old one no more. Raises OSError."""
        self._next_path.rename(self._path)
        sync_folder(self._path.parent)
        if self.next is not None:
            self.signer, self.next = self.next, None

    def drop(self) -> None:
        """Raises OSError."""
        self._next_path.unlink(missing_ok=True)
        self.next = None

    def seal(self, value: str) -> str:
        """What the log says of a secret: the same for the same one, and nothing about it."""
        return "hmac:" + hmac.new(self._sealing, value.encode(errors="surrogateescape"), sha256).hexdigest()[:32]


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
    replace(path, secrets.token_hex(_SEED_BYTES).encode() + b"\n")
