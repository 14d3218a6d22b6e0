"""Which token does a session hold in its sandbox? It is derived, so nothing of it is kept anywhere else.

It opens the session's own door, which listens in the sandbox's network namespace alone; it dies with that.
"""

from __future__ import annotations

from eleagent_daemon.identity import opaque
from eleagent_daemon.identity.keyring import Keyring


class SessionTokens:
    def __init__(self, *, keyring: Keyring) -> None:
        self._keyring = keyring

    def of(self, session: str, attempt: int) -> list[str]:
        """What the sandbox made for a session at its `attempt`-th start may show; the first is what a fresh one gets.
        Those of replaced peppers are what it got before.
        """
        identifier = session.replace("-", "0", 1)
        named = f"session token {session} {attempt}"
        return [
            opaque.derive("est", identifier, self._keyring.hash(named, pepper)).text for pepper in self._keyring.peppers
        ]
