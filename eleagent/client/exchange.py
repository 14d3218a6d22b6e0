"""What do both clients say and understand, whatever carries the bytes?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from eleagent import errors
from eleagent.operations.operation import Operation
from eleagent.version import VERSION_HEADER, __version__, check_skew
from eleagent.wire.sessions import Session
from eleagent.wire.timeline import ENDED, Event, Notice

PATIENCE_S: Final = 60.0
"""How long a follower waits for a daemon that restarts, counted from the last event."""


class StreamBroken(errors.Unavailable):
    """The connection ended before the answer did."""


class Request(msgspec.Struct, frozen=True):
    """`anonymous`: it says nothing of who is calling."""

    method: str
    target: str
    headers: dict[str, str]
    content: bytes | None
    anonymous: bool = False


def request_for(
    operation: Operation,
    *,
    body: Any,
    query: Mapping[str, Any] | None,
    path: Mapping[str, str],
    token: str | None = None,
    because: str | None = None,
) -> Request:
    """The request that `operation` stands for; a create gets an Idempotency-Key, so that it can be sent again: `token`,
    or one that is drawn. `because` is why content that is others' is read.

    Raises TypeError for a body or a query parameter that the operation does not have, BadRequest for an empty name.
    """
    if empty := next((name for name, value in path.items() if not value), None):
        raise errors.BadRequest(f"an empty {empty.upper()} names nothing")
    if operation.body is not None and not isinstance(body, operation.body):
        raise TypeError(f"{operation.id} takes a {operation.body.__name__}, not {body!r}")
    known = operation.queries
    given = {name: value for name, value in (query or {}).items() if value is not None}
    if because and operation.discloses:
        given.setdefault("reason", because)
    if strange := given.keys() - known.keys():
        raise TypeError(f"{operation.id} has no query parameter {sorted(strange)}")
    headers = {VERSION_HEADER: __version__, "Accept": "application/json, application/x-ndjson, */*"}
    content = None
    if operation.body is not None:
        content = msgspec.json.encode(body)
        headers["Content-Type"] = "application/json"
    if operation.id.endswith("_create"):
        headers["Idempotency-Key"] = token or os.urandom(16).hex()
    words = {name: str(value).lower() if known[name] is bool else str(value) for name, value in given.items()}
    target = operation.url(**path) + (f"?{urlencode(words)}" if words else "")
    return Request(operation.method, target, headers, content, anonymous=operation.anyone)


def is_wrong_password(error: errors.Unauthenticated) -> bool:
    """Who calls is known, and gave a wrong password."""
    return error.fields.get("reason") == "password"


def check_answer(status: int, version: str | None, content: bytes | None) -> None:
    """Raise what a problem stands for, or VersionSkew; `content` is the body of an answer that is a problem."""
    if status < 400:
        return check_skew(__version__, version, side="daemon")
    try:
        problem = msgspec.json.decode(content or b"", type=dict[str, Any])
    except msgspec.DecodeError:
        raise errors.EleAgentError(
            f"what answered {status} there is no EleAgent daemon: look at --host and ELEAGENT_HOST", status=status
        ) from None
    raise errors.from_problem(problem)


def decode(operation: Operation, content: bytes) -> Any:
    """The operation's result. Raises EleAgentError for what is none."""
    try:
        return msgspec.json.decode(content, type=operation.result)
    except msgspec.DecodeError as error:
        raise errors.EleAgentError(f"the daemon's answer to {operation.id} can't be read: {error}") from error


def decode_line(operation: Operation, line: bytes) -> Any:
    """One line of an NDJSON answer: the operation's result type, or a Notice beside events."""
    if operation.result is Event and line.startswith(b'{"notice"'):
        return msgspec.json.decode(line, type=Notice)
    return decode(operation, line)


class Cursor:
    """Where a follower of a timeline stands, so that a broken stream goes on without loss or repeat. `ended`: the last
    event was the session's last.
    """

    def __init__(self, *, after: int, now: float, patience_s: float) -> None:
        self.after = after
        self.ended = False
        self._progress = now
        self._patience_s = patience_s

    def admits(self, item: Event | Notice, now: float) -> bool:
        """Whether to hand `item` on: a seq that was seen is dropped. Raises StreamBroken at a gap, EleAgentError at an
        error notice."""
        if isinstance(item, Notice):
            if item.notice == "error":
                raise errors.EleAgentError(f"the daemon can't read on: {item.text}")
            return True
        if item.seq <= self.after:
            return False
        if item.seq != self.after + 1:
            raise StreamBroken(f"event {self.after + 1} is missing, {item.seq} came instead")
        self.after, self._progress = item.seq, now
        self.ended = item.type == ENDED
        return True

    def reached_end(self, session: Session) -> bool:
        """Whether a stream that came to its proper end said all there is, judged by the session itself."""
        return session.state.ended and session.last_seq <= self.after

    def retry(self, error: errors.EleAgentError, now: float) -> None:
        """Return when it is worth connecting again, raise `error` when it is not."""
        if not isinstance(error, StreamBroken | errors.DaemonUnreachable) or now - self._progress > self._patience_s:
            raise error
