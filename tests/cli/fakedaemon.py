"""What does a client see of a daemon? A scripted one over a real Unix socket, made from the operations table."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from eleagent.errors import EleAgentError, NotFound
from eleagent.operations.operation import Answer, Operation
from eleagent.operations.table import OPERATIONS
from eleagent.transparency import AUDIT_HEADER
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire import events as ev
from eleagent.wire.approvals import Approval, ApprovalAnswer, ApprovalKind, ApprovalState
from eleagent.wire.sessions import (
    Accepted,
    Artefact,
    ArtefactList,
    Session,
    SessionDetail,
    State,
    Usage,
)
from eleagent.wire.timeline import Event

KEY = "s-abcdefghij"
NOW = "2026-01-01T00:00:00Z"


class Break(Exception):
    """Raised by a script: the connection is torn here."""


@dataclass
class Call:
    operation: str
    path: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def decoded(self, kind: type[Any]) -> Any:
        return msgspec.json.decode(self.body, type=kind)


Script = Callable[[Call], Any]


@dataclass
class FakeDaemon:
    """`scripts` answer by operation id: a wire value, an iterable of lines or bytes, or it raises an error."""

    path: Path
    scripts: dict[str, Script] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    version: str = __version__
    audit: Callable[[], str] | None = None
    """What each answer tells of the audit log."""

    def __post_init__(self) -> None:
        self.server: _Server | None = None

    def __enter__(self) -> FakeDaemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self.server = _Server(str(self.path), self)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            self.path.unlink(missing_ok=True)

    def script_for(self, operation: str) -> Script | None:
        return self.scripts.get(operation)

    def called(self, operation: Operation) -> list[Call]:
        return [call for call in self.calls if call.operation == operation.id]

    def wait_for(self, operation: Operation, count: int = 1) -> None:
        deadline = time.monotonic() + 5
        while len(self.called(operation)) < count:
            assert time.monotonic() < deadline, f"{operation.id} was not called {count} times"
            time.sleep(0.01)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, fake: FakeDaemon) -> None:
        self.fake = fake
        super().__init__(path, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """Answers as the `fake` of its server says."""

    protocol_version = "HTTP/1.1"
    server: Any

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        pass

    def _serve(self) -> None:
        fake = self.server.fake
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation, path = _match(self.command, url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        _check_query(operation, query)
        call = Call(operation.id, path, query, dict(self.headers), body)
        fake.calls.append(call)
        try:
            script = fake.script_for(operation.id)
            answer = script(call) if script else None
            if answer is None:
                raise NotFound(f"the script has no answer to {operation.id}")
        except Break:
            self._tear()
        except EleAgentError as error:
            self._send(error.status, "application/problem+json", msgspec.json.encode(error.to_problem()))
        else:
            if operation.answer is Answer.JSON:
                self._send(operation.status, "application/json", msgspec.json.encode(answer))
            else:
                self._stream(operation, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # the standard library's names

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header(VERSION_HEADER, self.server.fake.version)
        if self.server.fake.audit:
            self.send_header(AUDIT_HEADER, self.server.fake.audit())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self._head(status, kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, operation: Operation, pieces: Any) -> None:
        self._head(operation.status, "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                content = piece if isinstance(piece, bytes) else msgspec.json.encode(piece) + b"\n"
                self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        except Break:
            self._tear()

    def _tear(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _check_query(operation: Operation, query: dict[str, str]) -> None:
    """The daemon refuses what is not so."""
    known = operation.queries
    for name, text in query.items():
        assert name in known, f"{operation.id} takes no {name}"
        assert known[name] is not int or 0 <= int(text) < 1 << 53, f"{operation.id} does not take {name}={text}"


def _match(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    from urllib.parse import unquote

    for operation in OPERATIONS:
        pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", operation.path)
        if operation.method == method and (found := re.fullmatch(pattern, path)):
            return operation, {name: unquote(value) for name, value in found.groupdict().items()}
    raise AssertionError(f"no operation is {method} {path}")


def timeline(*payloads: ev.Payload) -> list[Event]:
    """Payloads as events 1, 2, 3, …"""
    return [
        Event(number, NOW, payload.type, payload.by, msgspec.to_builtins(payload))
        for number, payload in enumerate(payloads, 1)
    ]


def created(**changes: Any) -> ev.SessionCreated:
    return ev.SessionCreated(
        **({"agent": "claude", "owner": "root", "policy": "model-only", "runtime": "docker"} | changes)
    )


def ended(
    state: State = State.SUCCEEDED, reason: str = "finished", exit_code: int = 0, **changes: Any
) -> ev.SessionEnded:
    return ev.SessionEnded(state, reason, exit_code, **({"agent_exit_code": exit_code} | changes))


class FakeSession:
    """One session's scripts. `gates` hold the follow stream before the event of that seq until they are set."""

    def __init__(self, *payloads: ev.Payload, ask: bool = False, artefacts: dict[str, bytes] | None = None) -> None:
        self.events = timeline(*payloads)
        self.ask = ask
        self.files = artefacts or {}
        self.gates: dict[int, threading.Event] = {}
        self.digests: dict[str, str] = {}
        self.answers: dict[str, ApprovalState] = {}

    @property
    def session(self) -> Session:
        last = self.events[-1]
        end = last.payload() if last.type == ev.SessionEnded.type else None
        facts = (
            {"state": end.state, "reason": end.reason, "exit_code": end.exit_code}
            if isinstance(end, ev.SessionEnded)
            else {"state": State.RUNNING}
        )
        return Session(
            key=KEY, name="able-otter", agent="claude", owner="root", created=NOW, ask=self.ask, last_seq=last.seq,
            usage=Usage(requests=2, input_tokens=1200, output_tokens=34), artefacts=len(self.files), **facts,
        )  # fmt: skip

    def scripts(self) -> dict[str, Script]:
        return {
            "session_create": lambda call: self.session,
            "session_get": lambda call: SessionDetail(session=self.session),
            "session_events": self._stream,
            "session_interrupt": self._accept,
            "session_stop": self._accept,
            "approval_get": self._approval,
            "approval_answer": self._answered,
            "artefact_list": lambda call: ArtefactList([self._artefact(path) for path in self.files], True),
            "artefact_get": lambda call: [self.files[call.query["path"]]],
        }

    def _approval(self, call: Call) -> Approval:
        found = next(
            payload
            for event in self.events
            if isinstance(payload := event.payload(), ev.ApprovalRequested | ev.WallAsked)
            and payload.id == call.path["id"]
        )
        wall = isinstance(found, ev.WallAsked)
        kind, subject = (found.kind, found.subject) if wall else (ApprovalKind.TOOL, found.tool)
        return Approval(
            id=found.id, session=KEY, owner="root", agent="claude", policy="model-only", kind=kind, subject=subject,
            parameters="" if wall else found.input, state=self.answers.get(found.id, ApprovalState.OPEN),
        )  # fmt: skip

    def _answered(self, call: Call) -> Approval:
        allow = call.decoded(ApprovalAnswer).allow
        self.answers[call.path["id"]] = ApprovalState.ALLOWED if allow else ApprovalState.DENIED
        self._accept(call)
        return self._approval(call)

    def _accept(self, call: Call) -> Accepted:
        for gate in self.gates.values():
            if not gate.is_set():
                gate.set()
                break
        return Accepted(KEY, State.RUNNING)

    def _artefact(self, path: str) -> Artefact:
        import hashlib

        content = self.files[path]
        return Artefact(path, len(content), self.digests.get(path) or hashlib.sha256(content).hexdigest())

    def _stream(self, call: Call) -> Iterator[Event]:
        for event in self.events[int(call.query.get("after", 0)) :]:
            if event.seq in self.gates:
                self.gates[event.seq].wait(5)
            yield event
