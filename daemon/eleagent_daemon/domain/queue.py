"""Whose turn is it? Users take turns: who asks for a hundred sessions keeps nobody waiting for more than one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class FairQueue:
    """Round robin by user, first come first served within each."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}  # in the order in which the users' turns come
        self._places: dict[str, int] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, key: str, user: str) -> None:
        self._waiting.setdefault(user, deque()).append(key)
        self._places = None

    def remove(self, key: str) -> bool:
        """False when it does not wait."""
        for user, keys in self._waiting.items():
            if key in keys:
                keys.remove(key)
                if not keys:
                    del self._waiting[user]
                self._places = None
                return True
        return False

    def take(self, may: Callable[[str], bool]) -> tuple[str, str] | None:
        """The next key and its user, of those users that `may` have one more. Who had a turn goes to the end."""
        user = next(filter(may, self._waiting), None)
        if user is None:
            return None
        keys = self._waiting.pop(user)
        key = keys.popleft()
        if keys:
            self._waiting[user] = keys
        self._places = None
        return key, user

    def place(self, key: str) -> int | None:
        """1 for the next one; None for what does not wait. Who may have no more just now is not left out."""
        if self._places is None:
            self._places = {one: number for number, one in enumerate(self._order(), 1)}
        return self._places.get(key)

    def _order(self) -> list[str]:
        rounds = max(map(len, self._waiting.values()), default=0)
        return [keys[turn] for turn in range(rounds) for keys in self._waiting.values() if turn < len(keys)]
