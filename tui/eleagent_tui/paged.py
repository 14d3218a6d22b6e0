"""How is a list that is longer than anybody reads shown? Its newest page first, older ones as one goes down to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eleagent_tui.table import Item

PAGE: Final = 200
MOST: Final = 5000
"""Items that are kept; who wants to see older ones narrows the list."""


class Paged:
    """Items newest first, that grow at both ends. `older`: the cursor of the page before, None when there is none."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.older: int | None = None
        self.newest = 0
        self.generation = 0

    def begin(self) -> int:
        """Another list begins; pages of the one before are not wanted any more."""
        self.items, self.older, self.newest = [], None, 0
        self.generation += 1
        return self.generation

    def put_newer(self, items: Sequence[Item], newest: int) -> None:
        self.items = [*items, *self.items][:MOST]
        self.newest = max(self.newest, newest)

    def put_older(self, items: Sequence[Item], older: int | None) -> None:
        self.items += items
        self.older = older if len(self.items) < MOST else None

    def wants_older(self, item: Item | None) -> bool:
        """Whether the cursor comes near to the end of what is there."""
        return self.older is not None and item is not None and item in self.items[-20:]
