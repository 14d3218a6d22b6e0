"""How is a session's question put to a person at a terminal, and shown whole wherever it is read?"""

from __future__ import annotations

import select
import sys
import termios
import time
from datetime import UTC, datetime
from typing import Final

from eleagent import textsafe
from eleagent.cli.invocation import Invocation
from eleagent.cli.screen import Screen, Style, To
from eleagent.errors import EleAgentError, NotFound
from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_GET
from eleagent.wire.approvals import Approval, ApprovalAnswer, ApprovalKind, ApprovalState

POLL_S: Final = 1.0
"""How often a question that waits for typing is looked at: another client may answer it."""

APPEARS_S: Final = 2.0

COURTESY: Final = "(a courtesy: anything in the sandbox can forge this question or its answer)"


class Cancelled(Exception):
    """Raised into a question that waits."""


class Asker:
    """Puts questions one after the other; `waiting` while one waits for typing."""

    def __init__(self, invocation: Invocation) -> None:
        self._client = invocation.client
        self._screen = invocation.screen
        self.waiting = False

    def put(self, identifier: str) -> None:
        """Ask, and send what the person says. Another client's answer, an expiry or an interrupt ends the waiting."""
        asked = self._find(identifier)
        if asked.state is not ApprovalState.OPEN:
            return
        self._screen.status(None)
        show(self._screen, asked, to=To.ERR)
        # What was typed before the question was shown is no answer to it.
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
        self._screen.prompt("Allow? [y/N/always] " if asked.kind.grantable else "Allow? [y/N] ")
        self.waiting = True
        try:
            said = self._read(identifier)
        except Cancelled:
            return
        finally:
            self.waiting = False
        if said is None:
            return
        body = ApprovalAnswer(
            allow=said in ("y", "yes", "always"),
            always=said == "always",
            comment="" if said in ("y", "yes", "always") else "denied by the person who was asked",
        )
        try:
            self._client.call(APPROVAL_ANSWER, body=body, id=identifier)
        except EleAgentError as error:
            self._screen.note(f"your answer did not count: {error.message}", Style.WARN)

    def _find(self, identifier: str) -> Approval:
        """Its event is durable before it can be answered: it may come a moment later."""
        until = time.monotonic() + APPEARS_S
        while True:
            try:
                asked: Approval = self._client.call(APPROVAL_GET, id=identifier)
            except NotFound:
                if time.monotonic() > until:
                    raise
                time.sleep(APPEARS_S / 20)
            else:
                return asked

    def _read(self, identifier: str) -> str | None:
        """What was typed; None when the question is closed meanwhile."""
        while not select.select([sys.stdin], [], [], POLL_S)[0]:
            asked: Approval = self._client.call(APPROVAL_GET, id=identifier)
            if asked.state is not ApprovalState.OPEN:
                self._screen.line("", to=To.ERR)
                return None
        return sys.stdin.readline().strip().lower()


def show(screen: Screen, asked: Approval, *, to: To = To.OUT) -> None:
    """The whole question, with control characters visible."""
    screen.line((Style.WARN, _asks(asked.kind)), (Style.BOLD, asked.subject), f"   {asked.id}", to=to)
    for text in asked.parameters.split("\n") if asked.parameters else ():
        screen.line("    ", text.replace("\t", "\\t"), to=to)
    if asked.why:
        screen.line("    ", asked.why, to=to)
    if not asked.kind.wall:
        screen.line("    ", (Style.DIM, COURTESY), to=to)
    if asked.state is ApprovalState.OPEN and asked.expires:
        screen.line("    ", (Style.DIM, f"denied by itself in {left(asked.expires)}"), to=to)


def _asks(kind: ApprovalKind) -> str:
    return {
        ApprovalKind.HOST: "The session asks to connect to ",
        ApprovalKind.CREDENTIAL: "The session asks to use the credential ",
        ApprovalKind.BUDGET: "The session asks to go on, up to ",
        ApprovalKind.TOOL: "The agent asks to use ",
        ApprovalKind.REQUEST: "The agent asks, in its own words: ",
    }[kind]


def left(expires: str | None) -> str:
    """How long until then, as `59s`, `14m`, `3h`; empty for never."""
    if expires is None:
        return ""
    seconds = max(0, int((datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()))
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def title(asked: Approval) -> str:
    """One line for lists."""
    return f"{asked.kind} {textsafe.line(asked.subject)}"
