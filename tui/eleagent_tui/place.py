"""What has every screen: where one is, who answers, what needs a person; what there is to press, and what is said?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.events import Key, Resize, ScreenResume
from textual.message import Message
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from eleagent.errors import DaemonUnreachable, EleAgentError, Unauthenticated
from eleagent_tui.field import Field
from eleagent_tui.link import ApprovalsChanged, AuditJudged, Link, Online, SessionsChanged
from eleagent_tui.paint import Painted
from eleagent_tui.rows import Row, Span, fit, shown_line, width_of, wrap

if TYPE_CHECKING:
    from eleagent_tui.app import EleAgent

SAID_S: Final = 8.0
"""How long a sentence stays where the keys are."""

LAG_S: Final = 0.15
"""A daemon that answers slower than this is said to."""


class Line(Painted):
    """One row."""

    DEFAULT_CSS = "Line { height: 1; }"

    def __init__(self, layout: Callable[[int], Row], *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._layout = layout

    def on_resize(self, _: Resize) -> None:
        self.update()

    def update(self) -> None:
        if self.size.width:
            self.repaint([self._layout(self.size.width)])


class Alarm(Painted):
    """As many rows as it takes to say what must not be missed; none where there is nothing."""

    DEFAULT_CSS = "Alarm { height: auto; max-height: 6; display: none; }"

    def show(self, text: str) -> None:
        self.display = bool(text)
        self.repaint(list(wrap(shown_line(text), self.app.size.width, "bad bold")))
        self.styles.height = len(self.painted)


class Foot(Widget):
    """The last row: keys, a sentence, or a question with the answer being typed."""

    DEFAULT_CSS = """
    Foot { height: 1; layout: horizontal; }
    Foot > #label { width: auto; }
    Foot > Input { width: 1fr; }
    """

    def __init__(self, keys: Callable[[int], Row]) -> None:
        super().__init__(markup=False)
        self._keys = keys
        self._said: Span | None = None
        self._asked: asyncio.Future[str | None] | None = None
        self._says = 0

    def compose(self) -> ComposeResult:
        yield Line(self._line, id="keys")

    def update(self) -> None:
        if lines := self.query("#keys"):
            lines.first(Line).update()

    def say(self, text: str, role: str) -> None:
        self._said = (role, shown_line(text))
        self._says += 1
        number = self._says
        self.update()
        self.set_timer(SAID_S, lambda: self._unsay(number))

    def _unsay(self, number: int) -> None:
        if number == self._says:
            self._said = None
            self.update()

    def _line(self, width: int) -> Row:
        if self._said is None:
            return self._keys(width)
        role, text = self._said
        return ((role, fit(text, width)),)

    async def ask(
        self,
        label: str,
        *,
        text: str = "",
        changed: Callable[[str], object] | None = None,
        secret: bool = False,
    ) -> str | None:
        """What is typed, None when it was given up. One question at a time: another one gives the first up. What is
        `secret` is not shown.
        """
        from eleagent_tui.asking import Asking

        self.answer(None)
        asked: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._asked = asked
        place = cast(Place, self.screen)
        focused = place.focused if not isinstance(place.focused, Field) else None
        asking = Asking(label, text, secret=secret, changed=changed, done=self.answer)
        self.query_one("#keys").display = False
        await self.mount(asking)
        place.hand_keys(asking.input)
        try:
            return await asked
        finally:
            if self.is_attached:
                await asking.remove()
            if self._asked is asked:  # no other question took its place meanwhile
                self._asked = None
                if self.is_attached:
                    self.query_one("#keys").display = True
                    if place.early is None and focused is not None and focused.is_attached:
                        place.set_focus(focused)

    def answer(self, text: str | None) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(text)


class KeysLanded(Message):
    """All keys that were on their way to the widget that had them have arrived: now they are `field`'s."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field


class Place(Screen[None]):
    """A screen of the shell. A subclass yields its `body` and says where it is."""

    NAME: ClassVar[str]
    PASSING: ClassVar[bool] = False
    """Left for good when another place is opened from it."""

    TITLE = ""
    DEFAULT_CSS = "Place { layout: vertical; overflow: hidden; }"
    AUTO_FOCUS = "Table, Reader, Transcript"

    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """As Textual's, but no screen is painted again because another widget has the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.early: list[Key] | None = None
        """Keys pressed while the field that is to get them is not there yet."""
        self._missed = False
        """Something was asked of a daemon that was away."""

    def compose(self) -> ComposeResult:
        yield Line(self._head, id="head")
        yield Alarm()
        yield from self.body()
        yield Foot(self._keys)

    def body(self) -> ComposeResult:
        raise NotImplementedError

    def crumbs(self) -> list[str]:
        """Where one is, below the name of the program; outside text is made safe by who shows it."""
        return [self.TITLE or ""]

    def refill(self) -> None:
        """Show what there is now: the place is opened, or come back to."""

    def come_back(self) -> None:
        """The daemon answers again, and did not when this place asked it for something."""
        self.refill()

    # For subclasses.

    @property
    def tui(self) -> EleAgent:
        return cast("EleAgent", self.app)

    @property
    def link(self) -> Link:
        return self.tui.link

    @property
    def foot(self) -> Foot:
        return self.query_one(Foot)

    def say(self, text: str, role: str = "good") -> None:
        self.foot.say(text, role)

    def do(self, work: Coroutine[Any, Any, object], *, group: str = "do", exclusive: bool = False) -> None:
        """Run it beside; what the daemon refuses is said."""
        self.run_worker(self._told(work), group=group, exclusive=exclusive)

    async def _told(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except EleAgentError as error:
            self._missed = self._missed or isinstance(error, DaemonUnreachable)
            if self.query(Foot):
                command = error.fields.get("command")
                self.say(f"no daemon answers: start it with: {command}" if command else error.message, "bad")
        except NoMatches:  # the answer came when the place was being left
            if self.is_current and self.query("#head"):
                raise

    def ask(
        self,
        label: str,
        then: Callable[[str], Coroutine[Any, Any, object]],
        *,
        text: str = "",
        changed: Callable[[str], object] | None = None,
        given_up: Callable[[], object] = lambda: None,
        secret: bool = False,
    ) -> None:
        """Ask for a line in the last row. What is typed from now on is the answer, also before the question is seen."""
        self.early = []

        async def answered() -> None:
            answer = await self.foot.ask(label, text=text, changed=changed, secret=secret)
            if answer is None:
                given_up()
            else:
                await then(answer)

        self.do(answered(), group="ask")

    def confirm(self, question: str, act: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Do it when the person typed y and Enter."""

        async def answered(text: str) -> None:
            if text.strip().lower() in ("y", "yes"):
                await act()

        self.ask(f"{question} Type y and Enter:", answered)

    def hand_keys(self, field: Field) -> None:
        """Give the keys to a field, together with those that are still on their way to what has them now. A burst of
        keys, as a slow link delivers them, must not be half text and half commands.
        """
        self.early = self.early or []
        (self.focused or self).post_message(KeysLanded(field))

    @on(KeysLanded)
    async def _keys_landed(self, event: KeysLanded) -> None:
        early, self.early = self.early or [], None
        self.set_focus(event.field)
        for key in early:
            if key.is_printable and key.character:
                event.field.insert_text_at_cursor(key.character)
            elif key.key == "backspace":
                event.field.action_delete_left()
            elif key.key == "escape":
                self.foot.answer(None)
            elif key.key == "enter":
                await event.field.action_submit()

    @property
    def writes(self) -> bool:
        """Whether keys are text now, so that none is a command."""
        return self.early is not None or isinstance(self.app.focused, Field)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not self.writes

    def straggler(self, event: Key) -> None:
        """A key that nobody took although keys are text: it was on its way when they became it."""
        if self.early is not None:
            self.early.append(event)
        elif isinstance(self.app.focused, Field) and event.is_printable and event.character:
            self.app.focused.insert_text_at_cursor(event.character)

    # The two rows.

    def update_head(self) -> None:
        if heads := self.query("#head"):
            heads.first(Line).update()

    def _head(self, width: int) -> Row:
        right = list(self._state())
        room = width - width_of(right) - 1
        crumbs = ["EleAgent", *(shown_line(crumb) for crumb in self.crumbs())]
        while len(crumbs) > 1 and len(" > ".join(crumbs)) > room:  # the nearest says the most
            del crumbs[0]
        left = fit(" > ".join(crumbs), max(8, room))
        gap = " " * max(1, width - width_of([("", left)]) - width_of(right))
        return (("bold", left), ("", gap), *right)

    def _state(self) -> Iterator[Span]:
        link = self.link
        if count := self.tui.needs_you:
            yield "warn", f"{count} need{'s' if count == 1 else ''} you  "
        if not link.known and link.why is None:
            yield "dim", f"{self.tui.where} …"
        elif isinstance(link.why, Unauthenticated):
            yield "bad", "not logged in"
        elif link.why is not None:
            yield "bad", "no daemon" if not link.known else "daemon away"
        else:
            lag = f" · lag {link.lag_s:.1f} s" if link.lag_s > LAG_S else ""
            yield "dim", f"{self.tui.where}{lag}"

    def _keys(self, width: int) -> Row:
        spans: list[Span] = []
        for key, what in self.hints():
            more: list[Span] = [("name", key), ("dim", f" {what}  ")]
            if width_of([*spans, *more]) > width:
                break
            spans += more
        return tuple(spans)

    def hints(self) -> Iterator[tuple[str, str]]:
        """Keys and what they do, the most needed first: those that a place declares as shown, then everybody's."""
        for binding in declared(type(self).BINDINGS):
            if binding.show:
                yield binding.key_display or binding.key.split(",")[0], binding.description
        yield "?", "help"
        yield ":", "all"
        yield "q", "quit"

    # What happens.

    @on(SessionsChanged)
    @on(ApprovalsChanged)
    @on(Online)
    def _told_of_daemon(self) -> None:
        self.update_head()
        if self._missed and self.link.online:
            self._missed = False
            self.come_back()

    @on(AuditJudged)
    def _judged(self) -> None:
        alarm = self.link.audit_alarm
        for shown in self.query(Alarm):
            shown.show(f"AUDIT LOG: {alarm}" if alarm else "")

    @on(Resize)
    def _resized(self) -> None:
        self._judged()

    @on(ScreenResume)
    def _resumed(self) -> None:
        self.update_head()
        self._judged()
        self.refill()


def declared(bindings: list[BindingType]) -> Iterator[Binding]:
    yield from (binding for binding in bindings if isinstance(binding, Binding))
