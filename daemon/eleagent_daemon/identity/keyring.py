"""Which secrets does identity itself stand on, and how are they made, kept and replaced?

Signing keys make access tokens; peppers make the hashes of keys and refresh tokens. Both are made at the first start,
and lie in one file that the daemon alone may read, or come from the service manager (LoadCredential=).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import ConfigError, Conflict
from eleagent_daemon.store.durable import discard, open_beside, put

CREDENTIAL: Final = "identity-keys"
"""The credential's name for the service manager: LoadCredential=identity-keys:PATH."""

RETIRED_S: Final = 24 * 3600.0
"""A retired signing key still verifies what it signed for so long."""

_KEY_BYTES: Final = 32


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    secret: bytes
    created: float
    retired: float | None = None


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last of each list is in use."""

    signing: list[Key]
    peppers: list[Key]


class Keyring:
    """`path` is where the keys may be replaced, None where somebody else provides them."""

    def __init__(self, *, keys: Keys, path: Path | None = None) -> None:
        self._keys = keys
        self._path = path

    @classmethod
    def provided(cls, credentials: Path | None) -> Keyring | None:
        """The service manager's keys where it has some, which root alone may be able to read. Raises ConfigError."""
        if credentials is None:
            return None
        path = credentials / CREDENTIAL
        try:
            return cls(keys=_read(path)) if path.exists() else None
        except OSError as err:
            raise ConfigError(f"{path}: can't be read: {err.strerror}") from None

    @classmethod
    def open(cls, path: Path) -> Keyring:
        """Blocking. The file's keys, made when it is not there.

        Raises ConfigError for keys that others may read or that are no keys.
        """
        if not path.exists():
            at = time.time()
            _write(path, Keys(signing=[_fresh(at)], peppers=[_fresh(at)]))
        if (mode := path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path} may be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
        return cls(keys=_read(path), path=path)

    @property
    def signing(self) -> Key:
        return self._keys.signing[-1]

    def verifying(self, at: float) -> list[Key]:
        """The keys that access tokens may be signed with at that time."""
        return [key for key in self._keys.signing if key.retired is None or at < key.retired + RETIRED_S]

    @property
    def pepper(self) -> str:
        """The id of the pepper that new hashes are made with."""
        return self._keys.peppers[-1].id

    @property
    def peppers(self) -> list[str]:
        """The ids of all, the one in use first."""
        return [key.id for key in reversed(self._keys.peppers)]

    def hash(self, text: str, pepper: str | None = None) -> bytes:
        """HMAC-SHA-256 of a token of 256 random bits (no slow hash is needed), with the pepper of that id or the one in
        use. A pepper that is not there gives what nothing equals.
        """
        wanted = pepper or self.pepper
        secret = next((key.secret for key in self._keys.peppers if key.id == wanted), None) or os.urandom(_KEY_BYTES)
        return hmac.digest(secret, text.encode(), hashlib.sha256)

    def rotate(self, *, at_once: bool) -> Key:
        """Blocking. Sign with a fresh key, and hash with a fresh pepper; what was signed before counts for a day more,
        or `at_once` no more. Hashes of before stay good: their peppers are kept.

        Raises Conflict where the keys are not ours to replace.
        """
        if self._path is None:
            raise Conflict(
                f"the keys are the service manager's credential {CREDENTIAL}: replace that, and restart eleagentd"
            )
        at = time.time()
        fresh = _fresh(at)
        old = [] if at_once else [msgspec.structs.replace(key, retired=key.retired or at) for key in self.verifying(at)]
        keys = Keys(signing=[*old, fresh], peppers=[*self._keys.peppers, _fresh(at)])
        _write(self._path, keys)
        self._keys = keys
        return fresh


def _fresh(at: float) -> Key:
    return Key(id=secrets.token_hex(8), secret=secrets.token_bytes(_KEY_BYTES), created=at)


def _read(path: Path) -> Keys:
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=Keys)
    except OSError as err:
        raise ConfigError(f"{path}: can't be read: {err.strerror}") from None
    except msgspec.DecodeError as err:
        raise ConfigError(f"{path}: holds no keys of ours: {err}") from None
    for key in [*keys.signing, *keys.peppers]:
        # 32 random bytes have 30.2 different ones on average; fewer than 16 never came by chance.
        if len(key.secret) != _KEY_BYTES or len(set(key.secret)) < _KEY_BYTES // 2:
            raise ConfigError(
                f"{path}: key {key.id!r} is no secret of {_KEY_BYTES} random bytes: remove the file to have keys made"
                " (all logins end and API keys must be made anew)"
            )
    if not keys.signing or not keys.peppers:
        raise ConfigError(f"{path}: has no signing key or no pepper: remove the file to have keys made")
    return keys


def _write(path: Path, keys: Keys) -> None:
    file = open_beside(path, mode=0o600)
    try:
        file.write(msgspec.json.encode(keys))
        put(file, path)
    finally:
        discard(file)
