"""What does the TUI know of the daemon, and how does it stay in touch? The one module that talks to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, Final, cast

from textual.message import Message

from eleagent import errors
from eleagent.operations.approvals import APPROVAL_LIST
from eleagent.operations.artefacts import ARTEFACT_GET
from eleagent.operations.operation import Operation
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_GET, SESSION_LIST
from eleagent.operations.system import STATUS
from eleagent.wire.approvals import Approval, ApprovalList
from eleagent.wire.events import SessionEnded
from eleagent.wire.sessions import Artefact, Session, SessionDetail
from eleagent.wire.system import Status
from eleagent.wire.timeline import Event, Notice

if TYPE_CHECKING:
    from eleagent.client.aio import AsyncClient
    from eleagent.client.witness import Witness

POLL_S: Final = 1.0
"""Between two looks at the live sessions, and between two tries where nobody answered."""

WHOLE_LIST_S: Final = 30.0
"""Between two looks at all of them, when none has come or gone."""

LIST_LIMIT: Final = 1000


class Online(Message):
    """The daemon answers, or `why` it does not."""

    def __init__(self, why: errors.EleAgentError | None) -> None:
        super().__init__()
        self.why = why


class AuditJudged(Message):
    """`Link.audit_alarm` is another."""


class SessionsChanged(Message):
    """`Link.sessions` is another."""


class ApprovalsChanged(Message):
    """`Link.approvals` is another."""


class Link:
    """`tell` gets each message. `sessions` are all that the daemon listed, newest first."""

    def __init__(
        self,
        *,
        connect: Callable[[], AbstractAsyncContextManager[AsyncClient]],
        tell: Callable[[Message], object],
        witness: Witness | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._connect = connect
        self._poll_s = poll_s
        self._witness = witness
        self._tell = tell
        self._client: AsyncClient | None = None
        self._there = asyncio.Event()
        self._look = asyncio.Event()
        self.sessions: dict[str, Session] = {}
        self.approvals: dict[str, Approval] = {}
        self.status: Status | None = None
        self.why: errors.EleAgentError | None = None
        self.known = False
        self.lag_s = 0.0
        self.audit_alarm = ""
        """Why the audit log that the daemon shows is not the one that was seen before."""
        self._audit_head: str | None = ""

    async def stay(self) -> None:
        """Connect and keep looking, for ever: a daemon that is away is asked again each second."""
        # Importing the client takes longer than painting the first screen.
        await asyncio.to_thread(import_module, "eleagent.client.aio")
        async with self._connect() as client:
            self._client = client
            self._there.set()
            whole_at = -WHOLE_LIST_S
            while True:
                try:
                    if self.status is None:
                        self.status = await client.call(STATUS)
                    whole_at = await self._list(client, whole_at)
                    await self._list_approvals(client)
                    self._is_online(None)
                    await self._bear_witness(client)
                except errors.EleAgentError as error:
                    self.status, whole_at = None, -WHOLE_LIST_S
                    self._is_online(error)
                self._look.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), self._poll_s)

    def look(self) -> None:
        """Something was done: see at once what came of it."""
        self._look.set()

    async def _list(self, client: AsyncClient, whole_at: float) -> float:
        """Live sessions; all of them when one came or went, or none was listed for long. Returns when that was."""
        asked = monotonic()
        live = {one.key: one for one in (await client.call(SESSION_LIST, query={"limit": LIST_LIMIT})).sessions}
        self.lag_s = monotonic() - asked
        known = {key for key, one in self.sessions.items() if not one.state.ended}
        before = self.sessions
        if known != live.keys() or monotonic() - whole_at > WHOLE_LIST_S:
            everything = await client.call(SESSION_LIST, query={"all": True, "limit": LIST_LIMIT})
            self.sessions = {one.key: one for one in everything.sessions} | live
            whole_at = monotonic()
        elif any(before[key] != one for key, one in live.items()):
            self.sessions = before | live
        if self.sessions != before or not self.known:
            self.known = True
            self._tell(SessionsChanged())
        return whole_at

    async def _list_approvals(self, client: AsyncClient) -> None:
        try:
            listed: ApprovalList = await client.call(APPROVAL_LIST)
        except errors.Refused:  # whose role sees none has none
            return
        asked = {one.id: one for one in listed.approvals}
        if asked != self.approvals:
            self.approvals = asked
            self._tell(ApprovalsChanged())

    async def _bear_witness(self, client: AsyncClient) -> None:
        """Each checkpoint that the daemon shows: has the audit log only grown since the last?"""
        if self._witness is None or client.audit_head == self._audit_head:
            return
        from eleagent.client.witness import OtherLog

        alarm, head = "", client.audit_head
        try:
            with suppress(OSError):  # a home that can't be written
                await client.bear_witness(self._witness)
        except OtherLog as error:
            alarm = f"{error.message}: if that is right, say 'eleagent audit trust'"
        except errors.TamperFound as error:
            alarm = error.message
        except errors.Refused:  # whose key may not ask for proofs is shown none
            pass
        self._audit_head = head
        if alarm != self.audit_alarm:
            self.audit_alarm = alarm
            self._tell(AuditJudged())

    def _is_online(self, why: errors.EleAgentError | None) -> None:
        before, self.why = self.why, why
        if (before is None) != (why is None) or (
            why is not None and before is not None and why.message != before.message
        ):
            self._tell(Online(why))

    @property
    def online(self) -> bool:
        return self.known and self.why is None

    # What screens ask for.

    async def call(
        self, operation: Operation, *, body: Any = None, query: Mapping[str, Any] | None = None, **path: str
    ) -> Any:
        """The operation's result. Raises what the daemon raised, or DaemonUnreachable."""
        return await (await self._ready()).call(operation, body=body, query=query, **path)

    async def act(self, operation: Operation, *, body: Any = None, **path: str) -> Any:
        """As `call`, for what changes something: the list is looked at afterwards."""
        try:
            return await self.call(operation, body=body, query=None, **path)
        finally:
            self.look()

    async def events(self, key: str, **query: Any) -> list[Event]:
        """A part of a timeline: `after` and `limit`, or the last `tail`."""
        client = await self._ready()
        return [item async for item in client.stream(SESSION_EVENTS, query=query, key=key) if isinstance(item, Event)]

    async def events_of(self, key: str, *types: str) -> AsyncIterator[Event]:
        """Those of a timeline that are of these types, however long it is."""
        client = await self._ready()
        async for item in client.stream(SESSION_EVENTS, query={"types": ",".join(types)}, key=key):
            if isinstance(item, Event):
                yield item

    async def read(self, operation: Operation, *, query: Mapping[str, Any], limit: int, **path: str) -> bytes:
        """The first `limit` bytes of a raw answer."""
        client = await self._ready()
        data = bytearray()
        async for piece in client.download(operation, query=query, **path):
            data += piece
            if len(data) >= limit:
                break
        return bytes(data[:limit])

    async def fetch(self, key: str, artefact: Artefact, dest: Path) -> None:
        """An artefact into a new file, which gets its name when it is whole and its digest is right.

        Raises Conflict for a name that is taken, BadRequest where it can't be written or is not what was listed.
        """
        client = await self._ready()
        try:
            with await asyncio.to_thread(lambda: NamedTemporaryFile(dir=dest.parent, prefix=".eleagent-")) as file:
                digest = sha256()
                async for piece in client.download(ARTEFACT_GET, query={"path": artefact.path}, key=key):
                    digest.update(piece)
                    await asyncio.to_thread(_write, file, piece)
                if digest.hexdigest() != artefact.sha256:
                    raise errors.BadRequest(f"{artefact.path} is not what was listed: its digest differs; try again")
                file.flush()
                await asyncio.to_thread(os.link, file.name, dest)
        except FileExistsError:
            raise errors.Conflict(f"{dest} exists: give another name") from None
        except OSError as error:
            raise errors.BadRequest(f"{dest} can't be written: {error.strerror}") from None

    async def follow(self, key: str, *, after: int) -> AsyncIterator[Event | Notice]:
        """The session's events after `after`, each once and in order, and previews, until the session ends; for as
        long as it takes, whoever restarts.
        """
        while True:
            try:
                client = await self._ready()
                async for item in client.follow(key, after=after, preview=True):
                    if isinstance(item, Event):
                        after = item.seq
                    yield item
                    if isinstance(item, Event) and item.type == SessionEnded.type:
                        return
                detail = cast(SessionDetail, await client.call(SESSION_GET, key=key))
                if detail.session.state.ended:
                    return
            except errors.NotFound:
                raise
            except errors.EleAgentError:
                pass
            await asyncio.sleep(self._poll_s)

    async def _ready(self) -> AsyncClient:
        await self._there.wait()
        assert self._client is not None  # noqa: S101  # it is there when the event is set
        return self._client


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
