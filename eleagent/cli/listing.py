"""How are sessions listed? What is imported here is what `ps` costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from eleagent.cli.amounts import age
from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.screen import Screen, Span
from eleagent.cli.states import state_span
from eleagent.operations.sessions import SESSION_LIST
from eleagent.wire.sessions import Session, SessionList

ANNOUNCED_DAYS = 7


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Ended sessions too.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many.")
@pass_invocation
def ps(invocation: Invocation, everything: bool = False, limit: int | None = None) -> None:
    """List sessions, newest first; live ones only unless -a."""
    found: SessionList = invocation.client.call(SESSION_LIST, query={"all": everything or None, "limit": limit})
    screen = invocation.screen
    if invocation.json:
        invocation.emit(found)
    elif invocation.quiet:
        for session in found.sessions:
            screen.line(session.key)
    elif found.sessions:
        screen.table(["KEY", "NAME", "STATE", "AGENT", "AGE", "TITLE"], [_row(session) for session in found.sessions])
        _announce(screen, found.sessions)
    else:
        screen.note("no sessions" if everything else "no live sessions (eleagent ps -a shows ended ones)")


def _announce(screen: Screen, sessions: list[Session]) -> None:
    """Nothing is lost by surprise."""
    soon = (datetime.now(UTC) + timedelta(days=ANNOUNCED_DAYS)).isoformat()
    going = [session.key for session in sessions if session.deletion_due is not None and session.deletion_due < soon]
    if going:
        what = f"{going[0]}{' and others' if len(going) > 1 else ''}"
        screen.note(
            f"{len(going)} of these are deleted within {ANNOUNCED_DAYS} days (session.keep_days): {what}; "
            "eleagent session export takes one away"
        )


def _row(session: Session) -> list[Span | str]:
    state = state_span(session.state)
    if session.exit_code:
        state = (state[0], f"{session.state} ({session.exit_code})")
    elif session.queue_position:
        state = (state[0], f"{session.state} (place {session.queue_position})")
    name = session.name if session.name != session.key else ""
    return [session.key, name, state, session.agent, age(session.created, datetime.now(UTC)), session.title]
