"""How does a person converse with a session at a terminal: what happens scrolls above the line they type?"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import click

from eleagent.cli.follow import Ending
from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.lineedit import PASTE_OFF, PASTE_ON, Key, LineEditor
from eleagent.cli.screen import Style
from eleagent.cli.views import choose_view
from eleagent.errors import BadRequest, Conflict, EleAgentError
from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_LIST
from eleagent.operations.sessions import SESSION_GET, SESSION_INPUT, SESSION_INTERRUPT
from eleagent.wire.approvals import ApprovalAnswer, ApprovalList
from eleagent.wire.sessions import InputAccepted, Session, SessionDetail, SessionInput

SCROLL_BACK: Final = 200
"""Events of the past that are shown first."""

_HELP: Final = (
    "Enter sends · ctrl-c interrupts · ctrl-p ctrl-q leaves it alone · /approve and /deny answer what it asks"
)


@click.command(cls=Command)
@click.argument("key", default="@")
@click.option("-n", "--tail", type=click.IntRange(0), default=SCROLL_BACK, help="So many events of the past first.")
@pass_invocation
def attach(invocation: Invocation, key: str, tail: int) -> int:
    """Converse with session KEY. It goes on when you leave."""
    detail: SessionDetail = invocation.client.call(SESSION_GET, key=key)
    return converse(invocation, detail.session, after=max(0, detail.session.last_seq - tail))


def converse(invocation: Invocation, session: Session, *, after: int = 0) -> int:
    """Until it ends (its exit code) or the person leaves (0). Raises BadRequest where there is no terminal."""
    check_terminal(invocation)
    return Conversation(invocation, session, after=after).run()


def check_terminal(invocation: Invocation) -> None:
    """Raises BadRequest where nobody can type."""
    if not (sys.stdin.isatty() and invocation.screen.interactive) or invocation.json or invocation.quiet:
        raise BadRequest(
            "a conversation needs a terminal: eleagent session send and eleagent logs -f do the same in a script"
        )


class Conversation:
    """One thread reads what happens, the other what is typed."""

    def __init__(self, invocation: Invocation, session: Session, *, after: int) -> None:
        self._client = invocation.client
        self._screen = invocation.screen
        self._view = choose_view(invocation, key=session.key)
        self._key = session.key
        self._after = after
        self._lease: int | None = None
        self._editor = LineEditor()
        self._ending: Ending | None = None
        self._failure: EleAgentError | None = None
        self._ended, self._end = os.pipe()
        self._resized, self._resize = os.pipe()
        os.set_blocking(self._resize, False)

    def run(self) -> int:
        self._screen.note(_HELP)
        reader = threading.Thread(target=self._follow, daemon=True)
        with keys(), self._interrupting(), self._resizing():
            self._screen.pin("")
            reader.start()
            left = self._type()
            self._screen.pin(None)
        if left:
            self._screen.note(f"left {self._key}, which goes on: eleagent attach {self._key}")
            return 0
        reader.join()
        self._view.finish()
        if self._failure is not None:
            raise self._failure
        ending = self._ending or Ending.ask(self._client, self._key)
        self._screen.note(
            f"{self._key} {ending.state}" + (f": {ending.reason}" if ending.reason != ending.state else "")
        )
        return ending.exit_code

    def _follow(self) -> None:
        try:
            for item in self._client.follow(self._key, after=self._after):
                self._view.show(item)
                self._ending = Ending.of_event(self._key, item) or self._ending
        except EleAgentError as error:
            self._failure = error
        finally:
            os.write(self._end, b".")

    def _type(self) -> bool:
        """Whether the person left before the session ended."""
        while True:
            with suppress(InterruptedError):
                ready = select.select([sys.stdin, self._ended, self._resized], [], [])[0]
                if self._ended in ready:
                    return False
                if self._resized in ready:
                    os.read(self._resized, 4096)
                    self._screen.pin(self._editor.text)
                    continue
                data = os.read(sys.stdin.fileno(), 65536)
                if not data:
                    return True
                for said in self._editor.feed(data):
                    if said is Key.DETACH:
                        return True
                    self._say(str(said))
                self._screen.pin(self._editor.text)

    def _say(self, text: str) -> None:
        if not text.strip():
            return
        self._screen.pin("")
        try:
            word, _, rest = text.strip().partition(" ")
            if word in ("/approve", "/deny"):
                self._answer(allow=word == "/approve", identifier=rest.strip())
            else:
                body = SessionInput(text=text, lease=self._lease)
                accepted: InputAccepted = self._client.call(SESSION_INPUT, body=body, key=self._key)
                self._lease = accepted.lease
        except EleAgentError as error:
            if isinstance(error, Conflict):
                self._lease = None
            self._screen.note(f"not sent: {error.message}", Style.WARN)

    def _answer(self, *, allow: bool, identifier: str) -> None:
        if not identifier:
            found: ApprovalList = self._client.call(APPROVAL_LIST, query={"session": self._key})
            if len(found.approvals) != 1:
                listed = ", ".join(one.id for one in found.approvals) or "none"
                raise BadRequest(f"name the question, these are open: {listed}")
            identifier = found.approvals[0].id
        self._client.call(APPROVAL_ANSWER, body=ApprovalAnswer(allow=allow), id=identifier)

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Ctrl-C interrupts the turn, on a connection of its own."""

        def interrupt(_signum: int, _frame: FrameType | None) -> None:
            threading.Thread(target=self._interrupt, daemon=True).start()

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def _resizing(self) -> Iterator[None]:
        """What is being typed is drawn anew on a terminal of another size."""

        def tell(_signum: int, _frame: FrameType | None) -> None:
            with suppress(BlockingIOError):
                os.write(self._resize, b".")

        before = signal.signal(signal.SIGWINCH, tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)

    def _interrupt(self) -> None:
        try:
            self._client.call(SESSION_INTERRUPT, key=self._key)
        except EleAgentError as error:
            self._screen.note(error.message, Style.WARN)


@contextmanager
def keys() -> Iterator[None]:
    """Keys one by one and unechoed, Ctrl-C still a signal, pastes marked; as before at the end, however it comes."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    changed = termios.tcgetattr(fd)
    changed[0] &= ~(termios.IXON | termios.ICRNL)
    changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, changed)
        os.write(sys.stderr.fileno(), PASTE_ON.encode())
        yield
    finally:
        os.write(sys.stderr.fileno(), PASTE_OFF.encode())
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
