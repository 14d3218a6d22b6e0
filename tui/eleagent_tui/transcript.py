"""How is a timeline of any length read and followed? Only what is in sight is laid out and painted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import ClassVar, Final, NamedTuple

from textual.binding import Binding, BindingType
from textual.events import MouseScrollDown, MouseScrollUp, Resize
from textual.message import Message

from eleagent.wire.timeline import Event
from eleagent_tui.cards import clock
from eleagent_tui.draft import Draft
from eleagent_tui.pages import PAGE, Missing, Pages
from eleagent_tui.paint import Painted
from eleagent_tui.rows import Row, Span, fit

LEAD: Final = 2
"""Cells before each row, where the chosen event is marked."""

CLOCK: Final = 9
FRAME_S: Final = 1 / 20
FRAME_REMOTE_S: Final = 1 / 10
FRAME_LATE_S: Final = 1 / 4
LATE_S: Final = 0.2
"""A frame that comes so late says that the terminal does not keep up: its link is slow."""


class Place(NamedTuple):
    """A row of an event: where the view begins. Nothing has to be counted to know it, however long the timeline."""

    seq: int
    row: int


class Transcript(Painted, can_focus=True):
    """The view of `pages`. It asks for a page that is missing by a message, and goes on when it comes.

    `moved` is called, for the same frame, when another part is in sight or it follows or does not.
    `step`: it follows by half a page at a time instead of row by row, which writes a tenth of the bytes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "by(-1)", show=False),
        Binding("down,j", "by(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "follow", "go to the end and follow", key_display="G", show=False),
        Binding("left_square_bracket", "choose(-1)", "choose the event before", key_display="[", show=False),
        Binding("right_square_bracket", "choose(1)", "choose the event after", key_display="]", show=False),
        Binding("enter", "open", "open or fold the chosen event", show=False),
        Binding("m", "clock", "time marks on or off", show=False),
    ]

    class PageWanted(Message):
        def __init__(self, page: int) -> None:
            super().__init__()
            self.page = page

    def __init__(self, pages: Pages, *, step: bool, moved: Callable[[], object], times: bool = False) -> None:
        super().__init__()
        self.pages = pages
        self.follows = True
        self.times = times
        self.needle = ""
        self.seen = 0  # the last event that was in sight while it followed
        self._chosen: int | None = None
        self._step = step
        self._moved = moved
        self._frame_s = FRAME_REMOTE_S if step else FRAME_S
        self._top = Place(1, 0)
        self._spans: list[int] = []  # the event of each row in sight
        self._pending: Callable[[], None] | None = None
        self._wanted: set[int] = set()
        self._draft = Draft()
        self._armed_at: float | None = None

    # What comes.

    def append(self, event: Event) -> None:
        self.pages.append(event)
        if event.type in ("agent.message", "agent.turn_finished", "session.ended"):
            self._draft.clear()
        self.arm()

    def preview(self, text: str) -> None:
        """Words that the agent is still writing, below all events until the finished message comes."""
        self._draft.add(text)
        self.arm()

    def page_came(self, page: int) -> None:
        self._wanted.discard(page)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending()
        else:
            self._show()

    def page_failed(self, page: int) -> None:
        self._wanted.discard(page)
        self._pending = None

    def arm(self) -> None:
        """Paint soon: all that comes until then is one frame."""
        if self._armed_at is None:
            self._armed_at = monotonic()
            self.set_timer(self._frame_s, self._frame)

    def _frame(self) -> None:
        late = monotonic() - (self._armed_at or 0.0) - self._frame_s
        self._frame_s = FRAME_LATE_S if late > LATE_S else FRAME_REMOTE_S if self._step else FRAME_S
        self._armed_at = None
        if self.size.width:
            self._guarded(self._advance)

    def _advance(self) -> None:
        if self.follows:
            height = self.size.height
            if not self._step:
                self._top = self._tail(height)
            elif self._tail(height) > self._top:
                self._top = self._tail(max(1, height // 2))
        self._show()

    # Geometry: rows of events, forwards and backwards from a place.

    @property
    def _width(self) -> int:
        return max(8, self.size.width - LEAD - (CLOCK if self.times else 0))

    @property
    def _last(self) -> int:
        return self.pages.count + (1 if self._draft else 0)

    def _rows(self, seq: int) -> list[Row]:
        return self._draft.rows(self._width) if seq > self.pages.count else self.pages.rows(seq, self._width)

    def _after(self, place: Place, rows: int) -> Place:
        seq, row = place
        while seq <= self._last:
            left = len(self._rows(seq)) - row
            if rows < left:
                return Place(seq, row + rows)
            rows, seq, row = rows - left, seq + 1, 0
        return Place(seq, row)

    def _before(self, place: Place, rows: int) -> Place:
        seq, row = place
        while rows > row:
            if seq <= 1:
                return Place(1, 0)
            rows -= row
            seq -= 1
            row = len(self._rows(seq))
        return Place(seq, row - rows)

    def _tail(self, height: int) -> Place:
        """Where a view of this height begins that ends with the last row."""
        return self._before(Place(self._last + 1, 0), height)

    # What is in sight.

    def _show(self) -> None:
        width, height = self.size
        if not width:
            return
        rows: list[Row] = []
        spans: list[int] = []
        seq, skip = self._top
        try:
            while len(rows) < height and seq <= self._last:
                for number, one in enumerate(self._rows(seq)[skip:], skip):
                    rows.append((*self._lead(seq, number), *self._marked(one)))
                    spans.append(seq)
                seq, skip = seq + 1, 0
        except Missing as missing:
            self._want(missing.page)
            rows.append((("dim", "  …"),))
            spans.append(seq)
        rows, self._spans = rows[:height], spans[:height]
        if self.follows:
            self.seen = self.pages.count
        elif (new := self.pages.count - self.seen) > 0 and rows:
            note = f" ▼ {new:,} new · G follows "
            rows[-1] = (*_clip(rows[-1], width - len(note)), ("hit", note))
        self.repaint(rows)
        self._moved()

    def _lead(self, seq: int, number: int) -> Iterator[Span]:
        yield ("name", "▌ ") if seq == self.chosen else ("", "  ")
        if self.times:
            first = number == 0 and seq <= self.pages.count
            yield "dim", f"{clock(self.pages.event(seq).ts)} " if first else " " * CLOCK

    def _marked(self, row: Row) -> Iterator[Span]:
        """With what is searched for made to stand out."""
        needle = self.needle
        for role, text in row:
            where = text.lower() if needle == needle.lower() else text
            at = 0
            while needle and (found := where.find(needle, at)) >= 0:
                yield role, text[at:found]
                yield "hit", text[found : found + len(needle)]
                at = found + len(needle)
            yield role, text[at:]

    @property
    def chosen(self) -> int | None:
        """The event that is opened, copied or paged: the last in sight while it follows."""
        if self.follows or self._chosen is None:
            return self.pages.count if self.follows and self.pages.count else None
        return self._chosen

    @property
    def position(self) -> str:
        """Where one is, for a person."""
        count = self.pages.count
        if self.follows or not self._spans:
            return f"{count:,} events"
        return f"{self._spans[0]:,}/{count:,}"

    @property
    def top_seq(self) -> int:
        return self._top.seq

    @property
    def in_sight(self) -> list[int]:
        return list(dict.fromkeys(self._spans))

    # Moving.

    def _guarded(self, move: Callable[[], None]) -> None:
        """Do it, or ask for the page that it needs and do it then."""
        try:
            move()
        except Missing as missing:
            self._pending = lambda: self._guarded(move)
            self._want(missing.page)

    def _want(self, page: int) -> None:
        if page not in self._wanted:
            self._wanted.add(page)
            self.post_message(self.PageWanted(page))

    def _go(self, place: Place) -> None:
        tail = self._tail(self.size.height)
        if place >= tail:
            self._top, self.follows = tail, True
        else:
            if self.follows:
                self.seen = self.pages.count
            self._top, self.follows = place, False
        self._show()
        sight = self.in_sight
        if not self.follows and sight and (self._chosen is None or not sight[0] <= self._chosen <= sight[-1]):
            self._chosen = sight[0] if self._chosen is None or self._chosen < sight[0] else sight[-1]
            self._show()

    def _by(self, rows: int) -> None:
        self._go(self._after(self._top, rows) if rows > 0 else self._before(self._top, -rows))

    def action_by(self, rows: int) -> None:
        self._guarded(lambda: self._by(rows))

    def action_page(self, pages: int) -> None:
        self.action_by(pages * max(1, self.size.height - 1))

    def action_first(self) -> None:
        self._chosen = 1
        self._guarded(lambda: self._go(Place(1, 0)))

    def action_follow(self) -> None:
        self._guarded(lambda: self._go(self._tail(self.size.height)))

    def show_event(self, seq: int, *, text: str = "") -> None:
        """Choose it and bring it into sight, on the first row where the end is not nearer: the event, or the first of
        its rows with `text`, for which it is opened where it is folded.
        """

        def move() -> None:
            row = self._row_with(seq, text)
            if row is None:
                self.pages.opened.add(seq)
                row = self._row_with(seq, text) or 0
            self._chosen = seq
            tail = self._tail(self.size.height)
            self._top, self.follows = min(Place(seq, max(0, row - 2)), tail), False
            self._show()

        self._chosen = seq
        if self.follows:
            self.seen = self.pages.count
        self._guarded(move)

    def _row_with(self, seq: int, text: str) -> int | None:
        for number, row in enumerate(self._rows(seq)):
            shown = "".join(part for _, part in row)
            if not text or text in (shown.lower() if text == text.lower() else shown):
                return number
        return None

    def action_choose(self, events: int) -> None:
        at = self.chosen or 1
        seq = max(1, min(at + events, self.pages.count))
        if seq in self.in_sight[:-1] or (seq in self.in_sight and events < 0):
            if self.follows:
                self.seen = self.pages.count
            self._chosen, self.follows = seq, False
            self._show()
        elif self.pages.count:
            self.show_event(seq)

    def action_open(self) -> None:
        if (seq := self.chosen) is None:
            return
        self.pages.opened ^= {seq}
        self.show_event(seq)

    def action_clock(self) -> None:
        self.times = not self.times
        self._relay()

    def on_resize(self, _: Resize) -> None:
        self._relay()

    def _relay(self) -> None:
        self._top = Place(self._top.seq, 0)

        def again() -> None:
            if self.follows:
                self._top = self._tail(self.size.height)
            self._show()

        if self.size.width:
            self._guarded(again)

    def on_mouse_scroll_down(self, _: MouseScrollDown) -> None:
        self.action_by(3)

    def on_mouse_scroll_up(self, _: MouseScrollUp) -> None:
        self.action_by(-3)


def _clip(row: Row, width: int) -> Row:
    text = fit("".join(text for _, text in row), width)
    return (("", text.ljust(width)),)


def page_query(page: int) -> dict[str, int]:
    """The part of a timeline that is a page."""
    return {"after": page * PAGE, "limit": PAGE}
