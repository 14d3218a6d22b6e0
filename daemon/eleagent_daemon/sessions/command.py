"""How is a plain program a session? Its stdout and stderr are the timeline, its exit code is the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eleagent.errors import Conflict, NotFound
from eleagent.wire.events import ApprovalAnswered, ApprovalRequested, OutputText, Payload
from eleagent_daemon.domain.sandbox import MODEL_PORT, SESSION_PORT, Doors
from eleagent_daemon.sessions.adapter import Item, Launch, Send, Verdict
from eleagent_daemon.sessions.environment import base_environment


class CommandAdapter:
    lines = False
    commands: Mapping[str, str] = {}

    def __init__(self, *, argv: Sequence[str], env: dict[str, str], model_door: bool) -> None:
        self._argv = tuple(argv)
        self._env = env
        self._model_door = model_door

    def launch(self) -> Launch:
        doors = Doors(model=MODEL_PORT if self._model_door else 0, session=SESSION_PORT)
        return Launch(argv=self._argv, env=base_environment(doors) | self._env, stdin=False, doors=doors)

    def unread(self) -> Sequence[Send]:
        return ()

    def undelivered(self, message: str) -> bool:
        return False

    def out(self, data: bytes | str) -> Sequence[Item]:
        return (OutputText(stream="out", text=str(data)),)

    def err(self, text: str) -> Sequence[Item]:
        return (OutputText(stream="err", text=text),)

    def recall(self, payload: Payload) -> None:
        pass

    def say(self, text: str, *, message: str) -> Send:
        raise Conflict("this session runs a program, which takes no input")

    def interrupt(self) -> Send | None:
        return None

    def questions(self) -> Sequence[ApprovalRequested]:
        return ()

    def answer(self, answered: ApprovalAnswered) -> Send:
        raise NotFound(f"no question {answered.id!r}: a program asks none")

    def farewell(self) -> Send | None:
        return None

    def verdict(self, exit_code: int) -> Verdict:
        return Verdict(succeeded=exit_code == 0, reason="exited", exit_code=exit_code)
