"""What does `eleagent` without a command open on a terminal?"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.events import AppBlur, AppFocus, Event, Key, Paste
from textual.filter import LineFilter, NoColor
from textual.message import Message
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES, Theme

from eleagent import textsafe
from eleagent.client.address import Address, UnixSocket
from eleagent.errors import BadRequest, StepUp, Unauthenticated
from eleagent.wire.sessions import Session
from eleagent.wire.states import Group
from eleagent_tui import keep, terminal
from eleagent_tui.field import Field
from eleagent_tui.link import POLL_S, ApprovalsChanged, Link, Online
from eleagent_tui.paint import Guard
from eleagent_tui.place import Place

if TYPE_CHECKING:
    from textual.driver import Driver

    from eleagent.client.aio import AsyncClient
    from eleagent.client.remote import Web
    from eleagent.client.stepup import AskPasswordSoon
    from eleagent.client.witness import Witness

THEMES: Final = ("ansi-dark", "ansi-light", "textual-dark", "textual-light")
"""The first two take the terminal's own colours, in the fewest bytes."""

TRAIL_MOST: Final = 8
"""How many places esc leads back through."""

QUIET_S: Final = 10.0
"""Nobody is called who pressed a key within it."""


YOUNG: Final = 5_000
"""So many objects are made between two searches for garbage. One takes 3 ms then; at a command's 100,000 it takes 50,
in which no key is taken."""


class Stop(NamedTuple):
    """A place that a number opens; its module is imported then."""

    key: str
    title: str
    place: str


STOPS: Final = {
    "sessions": Stop("1", "Sessions", "sessions:Sessions"),
    "approvals": Stop("2", "Approvals", "approvals:Approvals"),
    "egress": Stop("3", "Egress", "egress:EgressPlace"),
    "artefacts": Stop("4", "Artefacts", "artefacts:Artefacts"),
    "audit": Stop("5", "Audit", "audit:Audit"),
    "settings": Stop("6", "Settings", "settings:Settings"),
    "usage": Stop("7", "Usage", "usage:UsagePlace"),
}


class EleAgent(App[None]):
    """The shell: places, one of which is seen, and the link to the daemon."""

    TITLE = "EleAgent"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(stop.key, f"go('{name}')", stop.title, show=False) for name, stop in STOPS.items()),
        Binding("colon", "command_palette", "everything there is to do", show=False, key_display=":"),
        Binding("question_mark", "help", "help for where you are", show=False, key_display="?"),
        Binding("minus", "last", "the place before", show=False, key_display="-"),
        Binding("escape", "back", "back", show=False, key_display="esc"),
        Binding("L", "log_in", "log in to the daemon", show=False),
        Binding("q", "quit", "leave; sessions go on", show=False),
        Binding("ctrl+c", "leave", "leave; sessions go on", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "suspend", show=False),
    ]

    def __init__(
        self,
        *,
        connect: Callable[[AskPasswordSoon], AbstractAsyncContextManager[AsyncClient]],
        where: str,
        host: str,
        kept: keep.Kept,
        kept_file: Path | None = None,
        remote: bool = False,
        web: Web | None = None,
        witness: Witness | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        super().__init__()
        self.where = where
        self.host = host
        self.kept = kept
        self.remote = remote
        self.web = web
        """Where one logs in; None where the kernel says who is calling."""
        self._begin_with(kept.theme if kept.theme in THEMES else THEMES[0])
        self.link = Link(connect=lambda: connect(self.ask_password), tell=self._tell, witness=witness, poll_s=poll_s)
        self._kept_file = kept_file
        self._guard = Guard()
        self._colourless = NoColor()
        self._trail: list[Place] = []
        self._before: Place | None = None
        self._focus_known = False
        self._called: set[str] = set()
        self.typed_at = -QUIET_S
        """When a key was last text."""
        self._key_at = -QUIET_S
        self.crash = ""
        self.animation_level = "none"

    def _begin_with(self, theme: str) -> None:
        """Before the style sheets are parsed for another one. All that follows from a theme, as where it changes."""
        self.set_reactive(App.theme, theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self._refresh_truecolor_filter(self.ansi_theme)
        dark = self.current_theme.dark
        self.update_classes({f"-theme-{theme}": True, "-dark-mode": dark, "-light-mode": not dark}, update=False)

    @property
    def current_theme(self) -> Theme:
        """Asked some hundred times for a screen; Textual's own way copies the list of themes each time."""
        return BUILTIN_THEMES.get(self.theme) or super().current_theme

    # Places.

    def get_default_screen(self) -> Place:
        """The sessions lie below every other place."""
        return self._place("sessions")

    def _place(self, name: str) -> Place:
        if not self.is_screen_installed(name):
            module, _, cls = STOPS[name].place.partition(":")
            place: Place = getattr(import_module(f"eleagent_tui.screens.{module}"), cls)()
            self.install_screen(place, name)
        screen = self.get_screen(name)
        assert isinstance(screen, Place)  # noqa: S101  # the table above is wrong otherwise
        return screen

    @property
    def place(self) -> Place | None:
        """The place that is seen, or lies below what is asked."""
        return next((one for one in reversed(self.screen_stack) if isinstance(one, Place)), None)

    def open_session(self, key: str, *, at: int | None = None) -> None:
        """Its transcript, at an event or at its end."""
        from eleagent_tui.screens.session import SessionPlace

        known = self.link.sessions.get(key)
        self.kept.session = key
        self.go(SessionPlace(key, name=known.name if known is not None else "", at=at))

    def action_new(self) -> None:
        """The form for another session."""
        from eleagent_tui.screens.new import NewSession

        self.go(NewSession())

    def action_go(self, name: str) -> None:
        self.go(self._place(name))

    def go(self, place: Place, *, back: bool = False) -> None:
        """Show another place; esc comes back to this one."""
        here = self.place
        if here is place or here is None:
            return
        left = [here] if back or here.PASSING else self._trail[: -TRAIL_MOST + 1]
        self._before = None if here in left else here
        if here not in left:
            self._trail = [*self._trail[-TRAIL_MOST + 1 :], here]
        if not self.is_screen_installed(place):
            # One that is not installed is taken apart when another is shown: it could not be come back to.
            self.install_screen(place, f"place-{id(place)}")
        while self.screen is not here:
            self.pop_screen()
        if place is self.screen_stack[0]:
            self.pop_screen()
        elif here is self.screen_stack[0]:
            self.push_screen(place)
        else:
            self.switch_screen(place)
        self.kept.place = place.NAME
        for one in left:
            self._forget(one)

    def _forget(self, place: Place) -> None:
        """Nobody comes back to it; the places that a number opens stay."""
        if not any(self.is_screen_installed(name) and self.get_screen(name) is place for name in STOPS):
            self.uninstall_screen(place)
            place.remove()

    async def action_back(self) -> None:
        if self.screen is not self.place:
            self.pop_screen()
        elif self._trail:
            self.go(self._trail.pop(), back=True)
        else:
            self.action_go("sessions")

    def action_last(self) -> None:
        if self._before is not None:
            self.go(self._before)

    def action_help(self) -> None:
        from eleagent_tui.screens.help import Help

        if (place := self.place) is not None:
            self.push_screen(Help(place))

    # What the link tells.

    def _tell(self, message: Message) -> None:
        for screen in self.screen_stack:
            screen.post_message(message)
        if isinstance(message, ApprovalsChanged):
            self._call_person()
        if isinstance(message, Online) and isinstance(message.why, Unauthenticated):
            self._logged_out()

    def _logged_out(self) -> None:
        """Ask who it is; not who is typing, whose words would be taken for the answer."""
        place = self.place
        if place is not None and self.web is not None and place is self.screen and not place.writes:
            self.action_log_in()

    def action_log_in(self) -> None:
        from eleagent_tui.login import log_in

        if (place := self.place) is None:
            return
        if self.web is None:
            place.say("here the kernel says who you are: there is nothing to log in to", "dim")
        else:
            log_in(place, self.web)

    async def ask_password(self, why: StepUp) -> str:
        """Once more, where the daemon wants it. Raises `why` when it is not given."""
        place = self.place
        answer = await place.foot.ask(f"{why.message}. Password:", secret=True) if place is not None else None
        if not answer:
            raise why
        return answer

    @property
    def needs_you(self) -> int:
        """How many sessions wait for a person."""
        waiting = {one.key for one in self.link.sessions.values() if one.state.group is Group.NEEDS_YOU}
        return len(waiting | {one.session for one in self.link.approvals.values()})

    def _call_person(self) -> None:
        """An agent asks something new: say so to who does not look, by what was not switched off."""
        asked = self.link.approvals
        new = [one for key, one in asked.items() if key not in self._called]
        self._called = set(asked)
        if self.kept.title:
            self._write(terminal.title(f"({len(asked)}) EleAgent: an agent asks" if asked else "EleAgent"))
        if new and not self.attended:
            if self.kept.bell:
                self._write("\a")
            if self.kept.notify:
                self._write(terminal.notification(f"EleAgent: {new[0].agent} asks for {new[0].kind} {new[0].subject}"))

    @property
    def attended(self) -> bool:
        """Whether somebody looks: the terminal says that it has the focus, or a key was pressed just now."""
        return (self._focus_known and self.app_focus) or monotonic() - self._key_at < QUIET_S

    def _write(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    # The terminal.

    def get_driver_class(self) -> type[Driver]:
        from eleagent_tui.keyboard import Terminal

        return Terminal

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit)
        self.run_worker(self.link.stay(), group="link")
        if self.kept.place == "session" and self.kept.session:
            self.open_session(self.kept.session)
        elif self.kept.place in STOPS:
            self.action_go(self.kept.place)

    def on_ready(self) -> None:
        """It is painted: now garbage is looked for often, and never for long."""
        gc.set_threshold(YOUNG, 10, 10)

    def _keep_theme(self, _: object) -> None:
        self.kept.theme = self.theme if self.theme != THEMES[0] else ""

    def get_line_filters(self) -> Sequence[LineFilter]:
        """NO_COLOR is decided here: Textual's own way paints black on black where colours are the terminal's."""
        if self.no_color:
            return [self._colourless, self._guard]
        return [*super().get_line_filters(), self._guard]

    def on_key(self, event: Key) -> None:
        if isinstance(self.screen, Place) and self.screen.writes:
            self.screen.straggler(event)

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Paste) and isinstance(self.focused, Field) and not event.is_forwarded:
            self.typed_at = monotonic()
            self.focused.paste(event.text)
            return
        if isinstance(event, Key):
            self._key_at = monotonic()
            if isinstance(self.focused, Field):
                self.typed_at = self._key_at
                if not event.is_forwarded and await self.focused.take(event):
                    return
        await super().on_event(event)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action == "leave" or not (isinstance(self.screen, Place) and self.screen.writes)

    def action_leave(self) -> None:
        self.exit()

    def on_app_focus(self, _: AppFocus) -> None:
        self._focus_known = True

    def on_app_blur(self, _: AppBlur) -> None:
        self._focus_known = True

    def on_unmount(self) -> None:
        if self._kept_file is not None:
            keep.save(self._kept_file, self.kept)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from eleagent_tui.palette import commands

        return commands(self)

    def _fatal_error(self) -> None:
        """A crash is told when the terminal is whole again, without the values of variables: they may be secrets."""
        if not self.crash:
            self.crash = textsafe.safe(traceback.format_exc())
        self._close_messages_no_wait()


def live(sessions: Iterable[Session]) -> int:
    return sum(not session.state.ended for session in sessions)


def _web(address: Address) -> Web | None:
    if isinstance(address, UnixSocket):  # most are, and need not load what leads to other machines
        return None
    from eleagent.client.remote import Web

    return address if isinstance(address, Web) else None


def run(address: Address) -> int:
    """Open the full-screen client to the daemon at `address`. Returns the exit code.

    Raises BadRequest for a terminal that can't show it.
    """
    if os.environ.get("TERM", "dumb") in ("dumb", ""):
        raise BadRequest(
            "TERM=dumb can't show the full-screen client: eleagent ps, run, logs -f, session show, artefact and audit "
            "say the same line by line"
        )
    path = keep.kept_file()
    kept = keep.load(path)

    def connect(ask: AskPasswordSoon) -> AbstractAsyncContextManager[AsyncClient]:
        from eleagent.client.aio import AsyncClient

        return AsyncClient(at=address, ask_password=ask)

    from eleagent.client.witness import Witness, witness_folder

    where = "local" if str(address).startswith("unix:") else str(address)
    app = EleAgent(
        connect=connect, where=where, host=str(address), kept=kept, kept_file=path, remote=terminal.is_remote(),
        web=_web(address), witness=Witness(str(address), witness_folder()),
    )  # fmt: skip
    gc.freeze()  # what was loaded stays, and need not be looked through
    app.run(mouse=kept.mouse)
    if app.crash:
        sys.stderr.write(
            f"{app.crash}eleagent: the full-screen client crashed (a bug in it); sessions go on: eleagent ps\n"
        )
    if count := live(app.link.sessions.values()):
        going = "1 session goes on" if count == 1 else f"{count} sessions go on"
        sys.stdout.write(f"{going}: eleagent ps shows, eleagent stop KEY ends\n")
    return app.return_code or 0
