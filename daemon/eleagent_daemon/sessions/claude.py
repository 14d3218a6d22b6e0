"""How does Claude Code speak? Bidirectional stream-json with its control protocol, from the pinned CLI."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from eleagent.errors import NotFound
from eleagent.wire.events import (
    AgentNotice,
    AgentReady,
    AgentToolResult,
    AgentTurnFinished,
    ApprovalAnswered,
    ApprovalRequested,
    InputAccepted,
    InputDelivered,
    OutputText,
    Payload,
    SecurityFinding,
)
from eleagent_daemon.domain.doors import ModelView
from eleagent_daemon.domain.sandbox import (
    ARTEFACTS_DIR,
    DATA_DIR,
    HOME_DIR,
    MODEL_PORT,
    SESSION_PORT,
    WORKSPACE_DIR,
    Doors,
)
from eleagent_daemon.sessions.adapter import QUESTION_WITHDRAWN, Item, Launch, Send, Verdict
from eleagent_daemon.sessions.claude_messages import approval_id, blocks, clip, notice, preview, ready, turn_finished
from eleagent_daemon.sessions.environment import base_environment

REFUSED_TOOLS: Final = ("WebSearch", "WebFetch")
"""The model door refuses what these ask for, so they are not offered: an agent that is offered one dies on its use."""

QUESTION_LIMIT: Final = 256 * 1024
"""Characters of one tool's input under --ask: a person has to be shown the whole of it."""

QUESTIONS_LIMIT: Final = 32

_NAMESPACE: Final = uuid.UUID("6f0c6a2e-6b0f-5d3b-9a6b-0c1c8e3d7a11")
_PLACE: Final = (
    f"You work inside a sandbox. Project data is in {DATA_DIR} and is read-only. Write every result that should be "
    f"kept to {ARTEFACTS_DIR}; nothing else is handed over. {WORKSPACE_DIR} is yours to work in. There is no network "
    "but the model."
)


def _native_id(message: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, message))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class ClaudeAdapter:
    """`view` is what the model door saw: the CLI's word that a turn is over counts only where the door saw it too,
    since any process in the sandbox can write such a line.
    """

    lines = True
    commands: Mapping[str, str] = {"Bash": "command"}

    def __init__(
        self, *, session: str, model: str | None, ask: bool, env: dict[str, str], conversation: str = ""
    ) -> None:
        self._session = session
        self._conversation = conversation or session
        self._model = model
        self._ask = ask
        self._env = env
        self._view: Callable[[], ModelView | None] = lambda: None
        self._ready = False
        self._interrupted = False
        self._undelivered: dict[str, str] = {}  # the CLI's uuid of a message: our id
        self._result: AgentTurnFinished | None = None
        self._questions: dict[str, ApprovalRequested] = {}
        self._answers: dict[str, Send] = {}

    def observe(self, view: Callable[[], ModelView | None]) -> None:
        """Where to ask what the model door saw."""
        self._view = view

    def launch(self) -> Launch:
        doors = Doors(model=MODEL_PORT, session=SESSION_PORT)
        permission = (
            ("--permission-mode", "default", "--permission-prompt-tool", "stdio")
            if self._ask
            else ("--permission-mode", "bypassPermissions")
        )
        argv = (
            "claude", "-p", "--verbose",
            "--input-format", "stream-json", "--output-format", "stream-json",
            "--include-partial-messages", "--replay-user-messages",
            # A workspace is hostile input: none of its settings, hooks or servers count.
            "--setting-sources", "", "--strict-mcp-config", "--settings", '{"skipWebFetchPreflight":true}',
            "--disallowedTools", ",".join(REFUSED_TOOLS),
            "--append-system-prompt", _PLACE,
            "--resume" if self._conversation != self._session else "--session-id", self.native_session,
            *permission,
            *(("--model", self._model) if self._model else ()),
        )  # fmt: skip
        env = base_environment(doors) | {
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
            "CLAUDE_CODE_EAGER_FLUSH": "1",
            "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1",
            "CLAUDE_CODE_MAX_RETRIES": "2",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            # /tmp is noexec, and the CLI loads a library from its own temporary folder.
            "BUN_TMPDIR": HOME_DIR,
        }
        return Launch(argv=argv, env=env | self._env, stdin=True, doors=doors)

    @property
    def native_session(self) -> str:
        """The CLI's own session id, the same for every start of this session and of those that go on with it."""
        return str(uuid.uuid5(_NAMESPACE, self._conversation))

    def unread(self) -> Sequence[Send]:
        if self._ready:
            return tuple(self._answers.values())
        initialize = {"type": "control_request", "request_id": "initialize", "request": {"subtype": "initialize"}}
        return (Send("initialize", _encode(initialize) + b"\n"), *self._answers.values())

    def undelivered(self, message: str) -> bool:
        return _native_id(message) in self._undelivered

    def say(self, text: str, *, message: str) -> Send:
        body = {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "uuid": _native_id(message),
        }
        return Send(message, _encode(body) + b"\n")

    def interrupt(self) -> Send | None:
        self._interrupted = True
        request = {"type": "control_request", "request_id": "interrupt", "request": {"subtype": "interrupt"}}
        return Send(f"interrupt-{uuid.uuid4()}", _encode(request) + b"\n")

    def questions(self) -> Sequence[ApprovalRequested]:
        return tuple(self._questions.values())

    def answer(self, answered: ApprovalAnswered) -> Send:
        if (sent := self._answers.get(answered.id)) is not None:
            return sent
        question = self._questions.get(answered.id)
        if question is None:
            raise NotFound(f"no open question {answered.id!r} in this session")
        return _answer(question, allow=answered.allow, comment=answered.comment)

    def farewell(self) -> Send | None:
        if self._result is None or self._undelivered or self._questions:
            return None
        request = {"subtype": "end_session", "reason": "done"}
        return Send("end", _encode({"type": "control_request", "request_id": "end", "request": request}) + b"\n")

    def verdict(self, exit_code: int) -> Verdict:
        view = self._view()
        failure = view.failure if view else ""
        if not self._ready:
            detail = "the agent never said that it had started"
            return Verdict(succeeded=False, reason="agent_no_init", exit_code=exit_code or 1, detail=detail)
        if self._interrupted:
            return Verdict(succeeded=False, reason="interrupted", exit_code=130)
        if self._result is None:
            return Verdict(succeeded=False, reason="agent_exited", exit_code=exit_code or 1, detail=failure)
        if failure:
            return Verdict(succeeded=False, reason="model_failed", exit_code=125, detail=failure)
        if self._result.is_error:
            return Verdict(succeeded=False, reason="agent_error", exit_code=1, detail=self._result.text[:500])
        return Verdict(succeeded=True, reason="completed", exit_code=0)

    def err(self, text: str) -> Sequence[Item]:
        return (OutputText(stream="err", text=text),)

    def out(self, data: bytes | str) -> Sequence[Item]:
        line = data.encode() if isinstance(data, str) else data
        if not line.strip():
            return ()
        try:
            message = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return (AgentNotice(kind="not_json", detail=clip(line.decode(errors="replace"), 2000)),)
        try:
            return self._message(message)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as err:
            return (
                AgentNotice(
                    kind="malformed", detail=clip(f"{type(err).__name__} in {line.decode(errors='replace')}", 2000)
                ),
            )

    def recall(self, payload: Payload) -> None:
        match payload:
            case AgentReady():
                self._ready = True
            case InputAccepted():
                self._undelivered[_native_id(payload.id)] = payload.id
                self._result, self._interrupted = None, False
            case InputDelivered():
                self._undelivered.pop(_native_id(payload.id), None)
            case AgentTurnFinished() if payload.confirmed:
                self._result = payload
            case ApprovalRequested():
                self._questions[payload.id] = payload
            case ApprovalAnswered():
                question = self._questions.pop(payload.id, None)
                if question is not None:
                    self._answers[payload.id] = _answer(question, allow=payload.allow, comment=payload.comment)
            case AgentToolResult():
                self._answers.clear()  # the agent has gone on
            case AgentNotice(kind=kind) if kind == QUESTION_WITHDRAWN:
                self._questions.pop(payload.detail, None)
            case _:
                pass

    def _message(self, message: dict[str, Any]) -> Sequence[Item]:
        match message.get("type"), message.get("subtype"):
            case "system", "init":
                return self._init(message)
            case "assistant" | "user", _:
                return self._delivered(message) or self._went_on(blocks(message))
            case "stream_event", _:
                return preview(message)
            case "result", _:
                return self._finished(message)
            case "control_request", _:
                return self._asked(message)
            case "control_cancel_request", _:
                question = approval_id(self._session, str(message["request_id"]))
                self._questions.pop(question, None)
                return (AgentNotice(kind=QUESTION_WITHDRAWN, detail=question),)
            case "control_response", _:
                failed = message["response"].get("subtype") == "error"
                return (notice("control_error", message),) if failed else ()
            case "system", "session_state_changed" | "status" | "thinking_tokens":
                return ()
            case "keep_alive" | "tool_use_summary", _:
                return ()
            case kind, subtype:
                return (notice(f"{kind}.{subtype}" if subtype else str(kind), message),)

    def _went_on(self, items: Sequence[Item]) -> Sequence[Item]:
        if any(isinstance(item, AgentToolResult) for item in items):
            self._answers.clear()
        return items

    def _init(self, message: dict[str, Any]) -> Sequence[Item]:
        if self._ready:  # said anew at the start of every turn
            return ()
        self._ready = True
        said = ready(message)
        if said.mcp_servers:
            return (
                said,
                SecurityFinding(kind="unexpected_mcp", detail=f"the agent has MCP servers: {said.mcp_servers}"),
            )
        return (said,)

    def _delivered(self, message: dict[str, Any]) -> Sequence[Item]:
        if not message.get("isReplay"):
            return ()
        ours = self._undelivered.pop(str(message.get("uuid", "")), None)
        return (InputDelivered(id=ours),) if ours else (notice("replay", message),)

    def _finished(self, message: dict[str, Any]) -> Sequence[Item]:
        view = self._view()
        confirmed = self._interrupted or (view is not None and view.turn_over)
        said = turn_finished(message, confirmed=confirmed)
        if not confirmed:
            detail = (
                "a line says that the turn is over, but the model has not ended it: a process in the sandbox wrote it"
            )
            return (said, SecurityFinding(kind="forged_result", detail=detail))
        self._result = said
        return (said,)

    def _asked(self, message: dict[str, Any]) -> Sequence[Item]:
        request = message["request"]
        if request.get("subtype") != "can_use_tool":
            return (notice("control_request", message),)
        if not self._ask:
            detail = f"a question for {clip(str(request.get('tool_name')), 100)} although nobody is asked: not answered"
            return (SecurityFinding(kind="forged_question", detail=detail),)
        native = str(message["request_id"])
        question = ApprovalRequested(
            id=approval_id(self._session, native),
            tool=str(request["tool_name"]),
            input=_encode(request["input"]).decode(),
            native=native,
        )
        if question.id in self._questions:
            detail = (
                f"question {question.id} was asked a second time, with other words or the same: the first one counts"
            )
            return (SecurityFinding(kind="forged_question", detail=detail),)
        if len(question.input) > QUESTION_LIMIT or len(self._questions) >= QUESTIONS_LIMIT:
            detail = f"a question of {len(question.input)} characters, {len(self._questions)} are open: denied"
            refused = _answer(question, allow=False, comment="EleAgent: this question is too large, or one too many.")
            return (SecurityFinding(kind="question_flood", detail=detail), refused)
        self._questions[question.id] = question
        return (question,)


def _answer(question: ApprovalRequested, *, allow: bool, comment: str) -> Send:
    response: dict[str, Any] = (
        {"behavior": "allow", "updatedInput": msgspec.json.decode(question.input)}
        if allow
        else {"behavior": "deny", "message": comment or "The person who was asked said no."}
    )
    body = {
        "type": "control_response",
        "response": {"subtype": "success", "request_id": question.native, "response": response},
    }
    return Send(f"answer-{question.id}", _encode(body) + b"\n")
