"""What does a session do with itself, when it asks at its own door from inside its sandbox?"""

from __future__ import annotations

import contextlib

from eleagent.errors import BadRequest, Conflict, StorageUnavailable
from eleagent.wire.approvals import Approval
from eleagent.wire.events import SessionStopping
from eleagent.wire.inside import TEXT_LIMIT, AgentReported, OwnApproval, OwnSession, Question, Told
from eleagent.wire.sessions import State
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.desk import Desk
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import Cause


class Inside:
    """One session's (`domain.doors.Self`)."""

    def __init__(self, live: Live, *, accounts: Accounts) -> None:
        self._live = live
        self._accounts = accounts

    def read(self) -> OwnSession:
        session = self._live.session
        return OwnSession(
            key=session.key,
            name=session.name,
            state=session.state,
            agent=session.agent,
            owner=session.owner,
            project=session.project,
            policy=session.policy,
            created=session.created,
            started=self._live.started,
            timeout_s=self._live.timeout_s,
            limits=session.limits,
            usage=self._live.usage,
        )

    async def report(self, text: str) -> Told:
        """Raises BadRequest, StorageUnavailable."""
        await self._live.timeline.append(AgentReported(text=_checked("text", text)))
        return Told(self._live.session.state)

    async def ask(self, question: Question) -> OwnApproval:
        """Raises BadRequest, Conflict, StorageUnavailable."""
        subject, why = _checked("subject", question.subject), question.why and _checked("why", question.why)
        return _own(await self._desk().question(subject, why))

    async def approval(self, identifier: str, wait_s: float) -> OwnApproval:
        """Raises NotFound, Conflict."""
        return _own(await self._desk().own(identifier, wait_s))

    async def end(self) -> Told:
        """Its runner stops it, once it was told so. It takes away only, so a full disk does not hold it up."""
        live = self._live
        if live.end_because(Cause.LEFT, live.key):
            await self._accounts.left(live)
            with contextlib.suppress(StorageUnavailable):
                await live.timeline.append(SessionStopping(reason=Cause.LEFT, by_user=live.key))
            with contextlib.suppress(StorageUnavailable):
                await live.become(state=State.STOPPING)
            live.wake()
        return Told(live.session.state)

    def _desk(self) -> Desk:
        if self._live.desk is None:
            raise Conflict("nobody can be asked now: this session is ending")
        return self._live.desk


def _checked(name: str, text: str) -> str:
    if not text.strip() or len(text) > TEXT_LIMIT:
        raise BadRequest(f"{name} has {len(text)} characters: write 1 to {TEXT_LIMIT}")
    return text.strip()


def _own(approval: Approval) -> OwnApproval:
    return OwnApproval(
        id=approval.id,
        subject=approval.subject,
        state=approval.state,
        expires=approval.expires,
        comment=approval.comment,
    )
