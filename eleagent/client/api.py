"""How does a program call the daemon's operations?

    client = Client(at=find_daemon(None, uid=os.getuid()))
    session: Session = client.call(SESSION_CREATE, body=SessionCreate(prompt="…"))
    for item in client.follow(session.key): …

Whatever goes wrong is raised as the EleAgentError that the daemon raised, or as DaemonUnreachable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from eleagent.client.address import Address, Say, way_to
from eleagent.client.exchange import PATIENCE_S, Cursor, Request, StreamBroken, decode, decode_line, request_for
from eleagent.client.transport import Answer, send
from eleagent.errors import EleAgentError, StepUp
from eleagent.operations.operation import Operation
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_GET
from eleagent.transparency import AUDIT_HEADER
from eleagent.wire.sessions import SessionDetail
from eleagent.wire.timeline import Event, Notice

if TYPE_CHECKING:
    from eleagent.client.stepup import AskPassword


class Client:
    """A synchronous client; each call is a connection of its own, so it can be used from a signal handler too.

    `ask_password` is asked where the daemon wants the login's password once more; the call is made again then.
    `audit_head` is what the last answer told of the audit log, for a Witness; `answered`: there was one.
    """

    def __init__(
        self,
        *,
        at: Address,
        say: Say | None = None,
        start: bool = True,
        patience_s: float = PATIENCE_S,
        because: str | None = None,
        ask_password: AskPassword | None = None,
    ) -> None:
        self._way = way_to(at, say=say, start=start)
        self._dialled = partial(send, self._way)
        self._patience_s = patience_s
        self._request = partial(request_for, because=because)
        self._ask_password = ask_password
        self.audit_head: str | None = None
        self.answered = False

    def confirm(self, password: str) -> None:
        """Give the login's password once more. Raises Unauthenticated for a wrong one."""
        from eleagent.client.stepup import confirmation

        with self._dialled(confirmation(password)) as answer:
            answer.read()

    def _send(self, request: Request, **more: Any) -> Answer:
        try:
            answer = self._dialled(request, **more)
        except StepUp as why:
            if self._ask_password is None:
                raise
            self.confirm(self._ask_password(why))
            answer = self._dialled(request, **more)
        self.audit_head, self.answered = answer.headers.get(AUDIT_HEADER), True
        return answer

    def call(
        self,
        operation: Operation,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        token: str | None = None,
        **path: str,
    ) -> Any:
        """The operation's result. A create whose connection broke is sent once more, under the same Idempotency-Key
        (`token`, where the caller wants to come back with it).
        """
        request = self._request(operation, body=body, query=query, path=path, token=token)
        try:
            with self._send(request) as answer:
                content = answer.read()
        except StreamBroken:
            if "Idempotency-Key" not in request.headers:
                raise
            with self._send(request) as answer:
                content = answer.read()
        return decode(operation, content)

    def stream(
        self, operation: Operation, *, body: Any = None, query: Mapping[str, Any] | None = None, **path: str
    ) -> Iterator[Any]:
        """The decoded lines of an NDJSON answer up to its proper end; StreamBroken when it ends before."""
        with self._send(self._request(operation, body=body, query=query, path=path), wait_s=None) as answer:
            for line in answer.lines():
                yield decode_line(operation, line)

    def follow(self, key: str, *, after: int = 0, preview: bool = False) -> Iterator[Event | Notice]:
        """A session's events after `after` until the session ends, each once, also across a restart of the daemon.

        Raises the last error when the daemon stays away for `patience_s`.
        """
        cursor = Cursor(after=after, now=time.monotonic(), patience_s=self._patience_s)
        while True:
            query = {"after": cursor.after, "follow": True, "preview": preview or None}
            try:
                for item in self.stream(SESSION_EVENTS, query=query, key=key):
                    if cursor.admits(item, time.monotonic()):
                        yield item
                if cursor.ended:
                    return
                detail: SessionDetail = self.call(SESSION_GET, key=key)
                if cursor.reached_end(detail.session):
                    return
            except EleAgentError as error:
                cursor.retry(error, time.monotonic())
            time.sleep(self._way.retry_s)

    def upload(self, operation: Operation, file: BinaryIO, *, size_bytes: int, **path: str) -> Any:
        """Send a file as the operation's raw body."""
        request = self._request(operation, body=None, query=None, path=path)
        request.headers.update({"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)})
        with self._send(request, upload=file) as answer:
            return decode(operation, answer.read())

    def download(self, operation: Operation, *, query: Mapping[str, Any] | None = None, **path: str) -> Iterator[bytes]:
        """The pieces of a raw answer up to its proper end."""
        with self._send(self._request(operation, body=None, query=query, path=path)) as answer:
            yield from answer.pieces()
