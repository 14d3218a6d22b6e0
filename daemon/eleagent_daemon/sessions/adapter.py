"""What does an agent's own language mean to a session? One adapter an agent kind, a state machine without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from eleagent.wire.events import ApprovalAnswered, ApprovalRequested, Payload
from eleagent_daemon.domain.sandbox import Doors


@dataclass(frozen=True)
class Launch:
    """How the agent is started. `doors` are the ports it is told about; `stdin` false gives it /dev/null."""

    argv: tuple[str, ...]
    env: dict[str, str]
    stdin: bool
    doors: Doors


@dataclass(frozen=True)
class Send:
    """Bytes for the agent's stdin. `id` is unique in the session: the launcher writes a message once, however often it
    is sent.
    """

    id: str
    data: bytes


@dataclass(frozen=True)
class Preview:
    """Text that is still being written: shown as provisional, never kept."""

    text: str


Item = Payload | Send | Preview

QUESTION_WITHDRAWN: Final = "question_withdrawn"
"""The kind of the notice that an agent asks a question no longer; its detail is the question's id."""


class Adapter(Protocol):
    """`lines`: output comes in whole lines; else as decoded text in pieces. `commands`: tools that the agent reports
    when it runs a command → the member of their input that is the command.

    The same input gives the same items, so that after a crash a line can be read again and what is durable left out.
    """

    lines: bool
    commands: Mapping[str, str]

    def launch(self) -> Launch: ...

    def unread(self) -> Sequence[Send]:
        """Control messages that the agent has not taken yet, as far as can be told; sent again under the same ids after
        a crash.
        """

    def undelivered(self, message: str) -> bool:
        """Whether an accepted input has not been echoed yet."""

    def out(self, data: bytes | str) -> Sequence[Item]:
        """A line (without its newline) or a piece of text from stdout."""

    def err(self, text: str) -> Sequence[Item]: ...

    def recall(self, payload: Payload) -> None:
        """Take an event into the state: one that we made (an input, an answer), or any of an earlier daemon's."""

    def say(self, text: str, *, message: str) -> Send:
        """An input as the agent takes it; its InputAccepted changes the state. Raises Conflict when it takes none."""

    def interrupt(self) -> Send | None:
        """What interrupts the turn under way; None: a SIGINT does."""

    def questions(self) -> Sequence[ApprovalRequested]:
        """What the agent asks and nobody has answered."""

    def answer(self, answered: ApprovalAnswered) -> Send:
        """The answer as the agent takes it, the same however often. Raises NotFound when the agent asks no longer."""

    def farewell(self) -> Send | None:
        """What ends the agent now, when its work is done and nothing more is to be said; None while it is not."""

    def verdict(self, exit_code: int) -> Verdict:
        """What came of it, once the process is gone."""


@dataclass(frozen=True)
class Verdict:
    """`reason` is a word for scripts; `exit_code` what `eleagent run` exits with."""

    succeeded: bool
    reason: str
    exit_code: int
    detail: str = ""


def first_input(session: str) -> str:
    """The id of the message that carries a session's prompt."""
    return f"{session}-1"
