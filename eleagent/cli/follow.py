"""How does a terminal follow one session: its events, its questions, Ctrl-C, and its end?"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec

from eleagent import textsafe
from eleagent.cli.asking import Asker, Cancelled
from eleagent.cli.invocation import Invocation
from eleagent.cli.screen import To
from eleagent.cli.views import View, payload_of
from eleagent.client.api import Client
from eleagent.errors import EleAgentError
from eleagent.operations.artefacts import ARTEFACT_LIST
from eleagent.operations.sessions import SESSION_GET, SESSION_INTERRUPT, SESSION_STOP
from eleagent.wire.events import ApprovalRequested, SessionEnded, WallAsked
from eleagent.wire.inside import AgentAsked
from eleagent.wire.sessions import ArtefactList, Session, SessionDetail, SessionStop, State, Usage
from eleagent.wire.timeline import Event, Notice

INTERRUPTED = 130


class Ending(msgspec.Struct):
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


class Follower:
    """Follows one session to its end; where a person is at the terminal, its questions are put there."""

    def __init__(self, *, invocation: Invocation, key: str, view: View) -> None:
        self._invocation = invocation
        self._client = invocation.client
        self._key = key
        self._view = view
        self._asker = Asker(invocation) if answers(invocation) else None
        self._interrupts = 0

    def follow(self) -> Ending:
        """The ending, with the exit code that this terminal's part in it calls for."""
        ending = None
        with self._on_interrupt():
            preview = self._invocation.screen.interactive and not (self._invocation.json or self._invocation.quiet)
            for item in self._client.follow(self._key, preview=preview):
                self._view.show(item)
                payload = payload_of(item) if self._asker and isinstance(item, Event) else None
                if self._asker and isinstance(payload, ApprovalRequested | WallAsked | AgentAsked):
                    self._asker.put(payload.id)
                ending = Ending.of_event(self._key, item) or ending
        self._view.finish()
        ending = ending or Ending.ask(self._client, self._key)
        if self._interrupts:
            ending.exit_code = INTERRUPTED
        return ending

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
        if self._asker and self._asker.waiting:
            raise Cancelled

    def _tell(self, text: str) -> None:
        """A line on stderr that may come in the middle of another write."""
        if not self._invocation.quiet:
            start = "\r\x1b[K" if self._invocation.screen.is_terminal(To.ERR) else ""
            os.write(2, f"{start}eleagent: {textsafe.line(text)}\n".encode())


def answers(invocation: Invocation) -> bool:
    """Whether a person is there who can answer what a session asks."""
    return sys.stdin.isatty() and invocation.screen.interactive and not invocation.json
