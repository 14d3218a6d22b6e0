"""How does a terminal follow one session: its events, its questions, Ctrl-C, and its end?"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from eleagent import textsafe
from eleagent.cli.invocation import Invocation
from eleagent.cli.screen import Style, To
from eleagent.cli.views import View, payload_of
from eleagent.client.api import Client
from eleagent.errors import EleAgentError
from eleagent.operations.approvals import APPROVAL_ANSWER
from eleagent.operations.artefacts import ARTEFACT_LIST
from eleagent.operations.sessions import SESSION_GET, SESSION_INTERRUPT, SESSION_STOP
from eleagent.wire.events import ApprovalRequested, Event, Notice, SessionEnded
from eleagent.wire.sessions import ApprovalAnswer, ArtefactList, Session, SessionDetail, SessionStop, State, Usage

INTERRUPTED = 130
UNANSWERED = 122


@dataclass
class Ending:
    """How a session ended; `exit_code` is what the command exits with."""

    key: str
    state: State
    reason: str
    exit_code: int
    agent_exit_code: int | None
    usage: Usage
    detail: str = ""

    @classmethod
    def of(cls, session: Session) -> Ending:
        code = 125 if session.exit_code is None else session.exit_code
        return cls(
            session.key, session.state, session.reason or session.state, code, session.agent_exit_code, session.usage
        )

    @classmethod
    def ask(cls, client: Client, key: str) -> Ending:
        """For a timeline that stops without its last event."""
        detail: SessionDetail = client.call(SESSION_GET, key=key)
        return cls.of(detail.session)

    @classmethod
    def of_event(cls, key: str, item: Event | Notice) -> Ending | None:
        payload = payload_of(item) if isinstance(item, Event) and item.type == SessionEnded.type else None
        if not isinstance(payload, SessionEnded):
            return None
        code, agent_code = payload.exit_code, payload.agent_exit_code
        return cls(key, payload.state, payload.reason, code, agent_code, payload.usage, payload.detail)

    @property
    def by_itself(self) -> bool:
        """Whether the code is the agent's own, so that nothing need be explained."""
        return self.exit_code == (self.agent_exit_code or 0)

    def document(self, client: Client) -> dict[str, Any]:
        """The last line of `--json`; `reason` is the authority."""
        listed: ArtefactList = client.call(ARTEFACT_LIST, key=self.key)
        return {
            "reason": self.reason, "state": self.state, "exit_code": self.exit_code, "key": self.key,
            "detail": self.detail, "usage": self.usage, "artefacts": listed.artefacts,
        }  # fmt: skip


class _Cancelled(Exception):  # it tells a question that nobody answers it any more
    pass


class Follower:
    """Follows one session to its end. `asks`: the session was started with --ask, and this terminal answers."""

    def __init__(self, *, invocation: Invocation, key: str, view: View, asks: bool) -> None:
        self._invocation = invocation
        self._client = invocation.client
        self._key = key
        self._view = view
        self._asks = asks
        self._interrupts = 0
        self._unanswered = 0
        self._asking = False

    def follow(self) -> Ending:
        """The ending, with the exit code that this terminal's part in it calls for."""
        ending = None
        with self._on_interrupt():
            preview = self._invocation.screen.interactive and not (self._invocation.json or self._invocation.quiet)
            for item in self._client.follow(self._key, preview=preview):
                self._view.show(item)
                payload = payload_of(item) if self._asks and isinstance(item, Event) else None
                if isinstance(payload, ApprovalRequested):
                    self._answer(payload)
                ending = Ending.of_event(self._key, item) or ending
        self._view.finish()
        ending = ending or Ending.ask(self._client, self._key)
        if self._interrupts:
            ending.exit_code = INTERRUPTED
        elif self._unanswered:
            self._tell(f"{self._unanswered} questions were denied: --ask needs a terminal to answer them")
            ending.reason, ending.exit_code = "approval_unanswered", UNANSWERED
        return ending

    def _answer(self, question: ApprovalRequested) -> None:
        allow = False
        if sys.stdin.isatty() and sys.stderr.isatty():
            allow = self._put(question)
            comment = "" if allow else "denied by the person who was asked"
        else:
            self._unanswered += 1
            comment = "nobody is there to ask"
        try:
            body = ApprovalAnswer(allow=allow, comment=comment)
            self._client.call(APPROVAL_ANSWER, body=body, key=self._key, id=question.id)
        except EleAgentError as error:
            if not self._interrupts:  # an interrupt withdraws the question
                self._tell(f"the answer did not arrive: {error.message}")

    def _put(self, question: ApprovalRequested) -> bool:
        screen = self._invocation.screen
        screen.status(None)
        screen.line((Style.WARN, "The agent asks to use "), (Style.BOLD, question.tool), to=To.ERR)
        for text in question.input.split("\n"):
            screen.line("    ", text.replace("\t", "\\t"), to=To.ERR)
        # What was typed before the question was shown is no answer to it.
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        screen.prompt("Allow? [y/N] ")
        self._asking = True
        try:
            return sys.stdin.readline().strip().lower() in ("y", "yes")
        except _Cancelled:
            return False
        finally:
            self._asking = False

    @contextmanager
    def _on_interrupt(self) -> Iterator[None]:
        # The handler calls the daemon on a connection of its own while the stream waits: a KeyboardInterrupt would tear
        # the stream's state in the middle of a read.
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 2:
            raise KeyboardInterrupt
        try:
            if self._interrupts == 1:
                self._tell("interrupting; Ctrl-C again stops the session")
                self._client.call(SESSION_INTERRUPT, key=self._key)
            else:
                self._tell(f"stopping {self._key}; Ctrl-C again leaves it alone")
                self._client.call(SESSION_STOP, body=SessionStop(), key=self._key)
        except EleAgentError as error:
            self._tell(error.message)
        if self._asking:
            raise _Cancelled

    def _tell(self, text: str) -> None:
        """A line on stderr that may come in the middle of another write."""
        if not self._invocation.quiet:
            start = "\r\x1b[K" if self._invocation.screen.is_terminal(To.ERR) else ""
            os.write(2, f"{start}eleagent: {textsafe.line(text)}\n".encode())
