"""Which events of a timeline are at hand? Pages of it, the few that were looked at last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

from eleagent.wire.events import AgentToolCall, AgentToolResult
from eleagent.wire.timeline import Event
from eleagent_tui import cards
from eleagent_tui.rows import Row

PAGE: Final = 256
MOST_PAGES: Final = 12
MOST_CHARS: Final = 6_000_000
"""Of events that are at hand beside the page that is looked at."""

MOST_CALLS: Final = 2048


class Missing(Exception):
    """This page has to come from the daemon first."""

    def __init__(self, page: int) -> None:
        super().__init__(page)
        self.page = page


class _Entry:
    __slots__ = ("event", "laid")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.laid: tuple[int, bool, list[Row]] | None = None


class Pages:
    """Event 1 … `count`; page P holds the events P * PAGE + 1 and on."""

    def __init__(self) -> None:
        self.count = 0
        self.opened: set[int] = set()
        self._pages: OrderedDict[int, list[_Entry]] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._calls: OrderedDict[str, cards.Called] = OrderedDict()

    def put(self, events: Sequence[Event]) -> None:
        """Events in order without a gap, from anywhere: whole pages of them are kept, and the last one."""
        if not events:
            return
        self.count = max(self.count, events[-1].seq)
        by_page: dict[int, list[Event]] = {}
        for event in events:
            by_page.setdefault((event.seq - 1) // PAGE, []).append(event)
        for page, part in by_page.items():
            whole = part[0].seq == page * PAGE + 1 and part[-1].seq == min(self.count, (page + 1) * PAGE)
            if whole and len(self._pages.get(page, ())) < len(part):
                self._keep(page, [_Entry(event) for event in part])
        for event in events:
            self._note(event)

    def append(self, event: Event) -> None:
        """The next one. One that is known is left out."""
        if event.seq != self.count + 1:
            return
        self.count = event.seq
        page = (event.seq - 1) // PAGE
        self._note(event)
        if page in self._pages:
            self._pages[page].append(_Entry(event))
            self._sizes[page] += _size(event)
        elif event.seq == page * PAGE + 1:
            self._keep(page, [_Entry(event)])

    def event(self, seq: int) -> Event:
        """Raises Missing."""
        return self._entry(seq).event

    def rows(self, seq: int, width: int) -> list[Row]:
        """Laid out once for a width. Raises Missing."""
        entry, opened = self._entry(seq), seq in self.opened
        if entry.laid is None or entry.laid[:2] != (width, opened):
            event = entry.event
            called = self._calls.get(event.data.get("id", "")) if event.type == AgentToolResult.type else None
            entry.laid = (width, opened, cards.rows(event, width, opened=opened, called=called))
        return entry.laid[2]

    def at_hand(self) -> Iterator[int]:
        yield from self._pages

    def _entry(self, seq: int) -> _Entry:
        page, at = divmod(seq - 1, PAGE)
        entries = self._pages.get(page)
        if entries is None or at >= len(entries):
            raise Missing(page)
        self._pages.move_to_end(page)
        return entries[at]

    def _keep(self, page: int, entries: list[_Entry]) -> None:
        self._pages[page] = entries
        self._pages.move_to_end(page)
        self._sizes[page] = sum(_size(entry.event) for entry in entries)
        while len(self._pages) > 2 and (len(self._pages) > MOST_PAGES or sum(self._sizes.values()) > MOST_CHARS):
            gone, _ = self._pages.popitem(last=False)
            del self._sizes[gone]

    def _note(self, event: Event) -> None:
        if event.type == AgentToolCall.type:
            self._calls[str(event.data.get("id", ""))] = cards.Called(str(event.data.get("name", "")), event.ts)
            if len(self._calls) > MOST_CALLS:
                self._calls.popitem(last=False)


def _size(event: Event) -> int:
    return sum(len(value) for value in event.data.values() if isinstance(value, str)) + 400
