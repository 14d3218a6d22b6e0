"""What does one agent say and do, and what does one tell it?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Blur, Focus
from textual.message import Message

from eleagent.cli.prompt import check_prompt
from eleagent.operations.sessions import (
    SESSION_FIND,
    SESSION_GET,
    SESSION_HANDOVER,
    SESSION_INPUT,
    SESSION_INTERRUPT,
    SESSION_RESUME,
    SESSION_STOP,
)
from eleagent.wire.driving import SessionHandover
from eleagent.wire.events import AgentToolCall, SessionEnded
from eleagent.wire.sessions import (
    Found,
    InputAccepted,
    Session,
    SessionDetail,
    SessionInput,
    SessionResume,
    SessionStop,
)
from eleagent.wire.timeline import Event, Notice
from eleagent_tui import cards, terminal
from eleagent_tui.field import Field
from eleagent_tui.link import SessionsChanged
from eleagent_tui.pages import PAGE, Pages
from eleagent_tui.place import Place
from eleagent_tui.rows import shown_line
from eleagent_tui.transcript import Transcript, page_query

SEARCH_ROUNDS: Final = 40
"""Of a search over a very long timeline, each of which reads what the daemon reads at most."""


class Composer(Field):
    """What is said to the agent; Escape gives the keys back to the transcript."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back to the transcript", show=False, key_display="esc"),
        Binding("ctrl+g", "editor", "write in $EDITOR", show=False),
    ]
    DEFAULT_CSS = "Composer { height: 1; }"

    class Said(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    @on(Focus)
    @on(Blur)
    def _keys_mean_another(self) -> None:
        if isinstance(self.screen, Place):
            self.screen.foot.update()

    async def action_submit(self) -> None:
        """What is typed behind Enter is the next thing to be said."""
        text, self.value = self.value, ""
        if text.strip():
            self.post_message(self.Said(text))

    def action_leave(self) -> None:
        self.screen.set_focus(self.screen.query_one(Transcript))

    def action_editor(self) -> None:
        self.value = terminal.edit(self.app, self.value).strip()


class SessionPlace(Place):
    """The session's timeline as it grows. i writes to the agent, [ and ] choose an event, enter opens it."""

    NAME = "session"
    TITLE = "Session"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "write", "write"),
        Binding("slash", "search", "search", key_display="/"),
        Binding("n", "again(1)", "next hit", show=False),
        Binding("N", "again(-1)", "hit before", show=False),
        Binding("t", "tool(1)", "tool"),
        Binding("T", "tool(-1)", "tool call before", show=False),
        Binding("e", "trouble(1)", "error"),
        Binding("E", "trouble(-1)", "error before", show=False),
        Binding("y", "copy", "copy"),
        Binding("v", "pager", "pager"),
        Binding("f", "files", "files"),
        Binding("w", "network", "network"),
        Binding("p", "proof", "proof"),
        Binding("a", "audit", "audit"),
        Binding("c", "usage", "usage"),
        Binding("h", "handover", "let somebody else drive", show=False),
        Binding("V", "pager_whole", "the whole transcript in the pager", show=False),
        Binding("S", "save", "save the transcript", show=False),
        Binding("r", "resume", "go on with a session that has ended", show=False),
        Binding("u", "interrupt", "interrupt the turn", show=False),
        Binding("x", "stop", "stop"),
    ]

    def __init__(self, key: str, *, name: str = "", at: int | None = None) -> None:
        super().__init__()
        self.key = key
        self._at = at
        self._title = name or key
        self._session: Session | None = None
        self._opened = False
        self._pages = Pages()

    def body(self) -> ComposeResult:
        yield Transcript(self._pages, step=self.tui.remote, moved=self._moved, times=self.tui.kept.times)
        yield Composer(placeholder="i writes to the agent")

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def crumbs(self) -> list[str]:
        session = self._session
        state = f"{self._title} {session.state}" if session is not None else self._title
        if session is not None and self._another_drives:
            state += f", {session.driver} drives"
        position = self.transcript.position if self._pages.count and self.is_mounted else ""
        return [state, position] if position else [state]

    def hints(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.focused, Composer):
            return iter([("⏎", "says it"), ("esc", "back to the transcript"), ("ctrl+g", "write in $EDITOR")])
        return super().hints()

    def on_mount(self) -> None:
        self.query_one(Composer).display = False
        self.do(self._open(), group="follow")

    async def _open(self) -> None:
        """The end of the timeline first, then what comes; the beginning meanwhile, for who goes there."""
        self._pages.put(await self.link.events(self.key, tail=2 * PAGE))
        self._opened = True
        self.transcript.action_follow()
        if self._at is not None:
            self.transcript.show_event(self._at)
        self.do(self._facts())
        if self._pages.count > 2 * PAGE:
            self.do(self._fetch(0), group="pages")
        async for item in self.link.follow(self.key, after=self._pages.count):
            self._came(item)

    def come_back(self) -> None:
        if not self._opened:
            self.do(self._open(), group="follow", exclusive=True)

    async def _facts(self) -> None:
        detail: SessionDetail = await self.link.call(SESSION_GET, key=self.key)
        self._session = detail.session
        self._title = detail.session.name
        self._settle()

    @on(SessionsChanged)
    def _sessions_changed(self) -> None:
        known = self.link.sessions.get(self.key)
        if known is not None and known != self._session:
            self._session = known
            self._settle()

    def _settle(self) -> None:
        """Who has ended, or is a program, is not written to."""
        session = self._session
        composer = self.query_one(Composer)
        composer.display = session is not None and not session.state.ended and session.agent != "command"
        if not composer.display and composer.has_focus:
            self.transcript.focus()
        self.update_head()

    def _came(self, item: Event | Notice) -> None:
        if isinstance(item, Event):
            self.transcript.append(item)
            if item.type == SessionEnded.type:
                self.link.look()
        elif item.notice == "preview":
            self.transcript.preview(item.text)

    @on(Transcript.PageWanted)
    def _page_wanted(self, event: Transcript.PageWanted) -> None:
        event.stop()
        self.do(self._fetch(event.page), group="pages")

    async def _fetch(self, page: int) -> None:
        try:
            self._pages.put(await self.link.events(self.key, **page_query(page)))
        except BaseException:
            self.transcript.page_failed(page)
            raise
        self.transcript.page_came(page)

    def _moved(self) -> None:
        self.tui.kept.times = self.transcript.times
        self.update_head()

    # Writing.

    def action_write(self) -> None:
        composer = self.query_one(Composer)
        if not composer.display:
            self.say("nobody to write to: the session has ended, or runs a program", "dim")
        elif self._session is not None and self._another_drives:
            self.confirm(f"{shown_line(self._session.driver)} drives it. Take it over?", self._take_over)
        else:
            self.hand_keys(composer)

    @property
    def _another_drives(self) -> bool:
        """The daemon refuses what is said by anybody but the driver."""
        status, session = self.link.status, self._session
        return status is not None and session is not None and session.driver not in ("", status.caller)

    async def _take_over(self) -> None:
        if self.link.status is not None:
            await self._hand_over(self.link.status.caller)
            self.hand_keys(self.query_one(Composer))

    async def _hand_over(self, to: str) -> None:
        session: Session = await self.link.act(SESSION_HANDOVER, body=SessionHandover(to=to), key=self.key)
        self._session = self.link.sessions[session.key] = session
        self.update_head()
        self.say(f"{session.driver} drives" if session.driver else "whoever speaks next drives")

    def action_handover(self) -> None:
        async def give(to: str) -> None:
            await self._hand_over(to.strip())

        self.ask("Who drives from now on? (a user; empty: whoever speaks next)", give)

    @on(Composer.Said)
    def _said(self, event: Composer.Said) -> None:
        event.stop()
        self.do(self._send(event.text))

    async def _send(self, text: str) -> None:
        composer = self.query_one(Composer)
        try:
            check_prompt(text)
            lease = self._session.lease if self._session is not None and self._session.driver else None
            said: InputAccepted = await self.link.act(
                SESSION_INPUT, body=SessionInput(text=text, lease=lease), key=self.key
            )
        except BaseException:
            composer.value = composer.value or text  # it was not said: it is there to be said again
            raise
        if self._session is not None and self.link.status is not None:
            driver = self.link.status.caller
            self._session = msgspec.structs.replace(self._session, driver=driver, lease=said.lease)
        self.transcript.action_follow()

    def action_interrupt(self) -> None:
        self.do(self._interrupt())

    async def _interrupt(self) -> None:
        await self.link.act(SESSION_INTERRUPT, key=self.key)
        self.say("told to interrupt its turn")

    def action_resume(self) -> None:
        if self._session is None or not self._session.state.ended:
            self.say("it still lives: i writes to it", "dim")
            return

        async def go_on(text: str) -> None:
            body = SessionResume(prompt=check_prompt(text), stay=True)
            session: Session = await self.link.act(SESSION_RESUME, body=body, key=self.key)
            self.link.sessions[session.key] = session
            self.tui.open_session(session.key)

        self.ask("Go on with", go_on)

    def action_stop(self) -> None:
        self.confirm(f"Stop {shown_line(self._title)}?", self._stop)

    async def _stop(self) -> None:
        await self.link.act(SESSION_STOP, body=SessionStop(), key=self.key)
        self.say("stopping")

    # Looking for something.

    def action_search(self) -> None:
        self.ask("/", self._search, text=self.transcript.needle)

    async def _search(self, needle: str) -> None:
        self.transcript.needle = needle
        if needle:
            # From the end, as one reads: the last one said first.
            await self._jump(-1 if self.transcript.follows else 1, text=needle)
        else:
            self.transcript.arm()

    def action_again(self, direction: int) -> None:
        if needle := self.transcript.needle:
            self.do(self._jump(direction, text=needle))
        else:
            self.action_search()

    def action_tool(self, direction: int) -> None:
        self.do(self._jump(direction, types=AgentToolCall.type))

    def action_trouble(self, direction: int) -> None:
        self.do(self._jump(direction, trouble=True))

    async def _jump(self, direction: int, **what: str | bool) -> None:
        """To the next one, or the one before; the daemon looks for it."""
        transcript = self.transcript
        at = transcript.chosen or 1
        if transcript.follows and direction < 0:
            at += 1
        where = {"after": at} if direction > 0 else {"before": at}
        for _ in range(SEARCH_ROUNDS):
            found: Found = await self.link.call(SESSION_FIND, query={**what, **where, "limit": 1}, key=self.key)
            if found.seqs:
                transcript.show_event(found.seqs[0], text=str(what.get("text", "")))
                return
            if found.goes_on_at is None:
                break
            where = {"after": found.goes_on_at - 1} if direction > 0 else {"before": found.goes_on_at}
        name = repr(what["text"]) if "text" in what else "error" if "trouble" in what else "tool call"
        self.say(f"no {name} further {'down' if direction > 0 else 'up'}", "dim")

    # The rest of the session.

    def action_files(self) -> None:
        from eleagent_tui.screens.artefacts import Files

        self.tui.go(Files(self.key, name=self._title))

    def action_network(self) -> None:
        from eleagent_tui.screens.egress import EgressPlace

        self.tui.go(EgressPlace(self.key, name=self._title))

    def action_proof(self) -> None:
        from eleagent_tui.screens.proof import Proof

        self.tui.go(Proof(self.key, name=self._title))

    def action_usage(self) -> None:
        from eleagent_tui.screens.usage import SessionUsage

        self.tui.go(SessionUsage(self.key, name=self._title))

    def action_audit(self) -> None:
        from eleagent_tui.screens.audit import Audit

        self.tui.go(Audit(self.key, name=self._title))

    # Taking out.

    def _chosen(self) -> Event | None:
        seq = self.transcript.chosen
        return self._pages.event(seq) if seq is not None and seq in self.transcript.in_sight else None

    def action_copy(self) -> None:
        if (event := self._chosen()) is not None:
            self.do(self._copy(cards.text_of(event)))

    async def _copy(self, text: str) -> None:
        self.say(terminal.copy(self.app, text))

    def action_pager(self) -> None:
        if (event := self._chosen()) is not None:
            self.do(self._page(cards.text_of(event)))

    def action_pager_whole(self) -> None:
        self.do(self._page_whole())

    async def _page_whole(self) -> None:
        terminal.page_command(self.app, self.tui.host, "logs", self.key)

    def action_save(self) -> None:
        async def save(name: str) -> None:
            dest = Path(name)
            form = ["--json"] if dest.suffix in (".json", ".jsonl") else []
            await asyncio.to_thread(terminal.save_command, self.tui.host, dest, *form, "logs", self.key)
            self.say(f"saved {dest}")

        self.ask("Save the transcript as (.txt, or .jsonl for its events)", save, text=f"{self.key}.txt")

    async def _page(self, text: str) -> None:
        terminal.page(self.app, text)
