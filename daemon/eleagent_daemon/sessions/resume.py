"""What is asked for when an ended session goes on?"""

from __future__ import annotations

from typing import Final

import msgspec

from eleagent.errors import Conflict
from eleagent.wire.sessions import Session, SessionCreate, SessionResume, State
from eleagent_daemon.store.registry import Record

GO_ON: Final = "Go on where you stopped."
"""What is said to an agent that is resumed without a prompt."""


def resumed_request(record: Record, asked: SessionResume) -> SessionCreate:
    """The request of the session that goes on with `record`. Raises Conflict where it can't."""
    session = record.session
    if not session.state.ended:
        raise Conflict(f"session {session.key} is {session.state}: eleagent attach {session.key} converses with it")
    if record.request.argv is not None:
        raise Conflict(f"session {session.key} ran a program, which can't go on: start it again with eleagent run")
    if session.resumed_by:
        raise Conflict(f"session {session.key} was resumed already: go on with {session.resumed_by}")
    if session.state is State.ISOLATION_FAILED:
        raise Conflict(f"session {session.key} ended since its isolation failed: what is in its files is not to be run")
    return msgspec.structs.replace(
        record.request,
        prompt=asked.prompt or GO_ON,
        name=asked.name,
        timeout_s=asked.timeout_s or record.request.timeout_s,
        approvals=asked.approvals,
        stay=asked.stay,
    )


def link(session: Session, before: Record) -> Session:
    """As a session that goes on with `before`."""
    first = before.session.conversation or before.session.key
    return msgspec.structs.replace(session, resumed_from=before.session.key, conversation=first)
