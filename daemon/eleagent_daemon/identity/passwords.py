"""Is this the password, and is it one to keep? argon2id, off the event loop, a bounded number at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from eleagent.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_CHARACTERS: Final = 15
"""NIST SP 800-63B-4: where the password is the only factor."""
MAX_CHARACTERS: Final = 128
GUESSES_LOG10: Final = 10.0
"""What a password must at least take to be guessed by one who knows lists, keyboards, dates and where it is used."""

_THREADS: Final = 2
_WAITING: Final = 8
_RETRY_S: Final = 2
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_MEASURED_CHARACTERS: Final = 72
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """argon2id's parameters; the floor is OWASP's for logins."""

    memory_kib: int = 65536
    rounds: int = 3
    lanes: int = 4


FLOOR: Final = Cost(memory_kib=19456, rounds=2, lanes=1)


class Passwords:
    """`verified` counts the times that argon2id was computed, so that equal work can be shown."""

    def __init__(self, *, cost: Cost) -> None:
        self.verified = 0
        self._cost = cost
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="argon2")
        self._under_way = 0
        self._nobodys = ""

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    async def hash(self, password: str) -> str:
        """Raises Unavailable when too many are being computed."""
        return await self._work(lambda: self._hasher().hash(password))

    async def verify(self, stored: str, password: str) -> bool:
        """Whether it is the password of `stored`; where that is empty (nobody has it) the same work is done for
        nothing. Raises Unavailable when too many are being computed.
        """

        def compare() -> bool:
            from argon2.exceptions import InvalidHashError, VerificationError

            hasher = self._hasher()
            self._nobodys = self._nobodys or hasher.hash(secrets.token_hex(16))
            self.verified += 1
            try:
                hasher.verify(stored or self._nobodys, password)
            except (VerificationError, InvalidHashError):
                return False
            return bool(stored)

        return await self._work(compare)

    def is_outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than those of now."""
        return self._hasher().check_needs_rehash(stored)

    async def check(self, password: str, *, context: list[str]) -> None:
        """Raises BadRequest for a password that is too short, too long, or too easy to guess: common ones, repeats and
        keyboard walks, and what is near (`context`: the user's and the organization's name). No rule says which
        characters it has to have.
        """
        if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
            raise BadRequest(
                f"the password has {len(password)} characters: it takes {MIN_CHARACTERS} to {MAX_CHARACTERS};"
                " a sentence is easy to remember"
            )
        if why := await self._work(lambda: _too_easy(password, context)):
            raise BadRequest(f"the password is too easy to guess ({why}): choose another; a sentence is hard to guess")

    async def _work(self, compute: Callable[[], _T]) -> _T:
        if self._under_way >= _THREADS + _WAITING:
            raise Unavailable("too many passwords are being checked: try again in a moment", retry_after_s=_RETRY_S)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, compute)
        finally:
            self._under_way -= 1

    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher, Type

        return PasswordHasher(
            time_cost=self._cost.rounds,
            memory_cost=self._cost.memory_kib,
            parallelism=self._cost.lanes,
            salt_len=_SALT_BYTES,
            hash_len=_HASH_BYTES,
            type=Type.ID,
        )


def _too_easy(password: str, context: list[str]) -> str:
    """Why it is, empty when it is not. Measured by its beginning: what follows can only make it harder."""
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:_MEASURED_CHARACTERS], user_inputs=[word for word in context if word])
    if found["guesses_log10"] >= GUESSES_LOG10:
        return ""
    return str(found["feedback"]["warning"]).rstrip(".").lower() or "it follows a pattern"
