"""How are sessions read, stopped and awaited?"""

from __future__ import annotations

import sys
from typing import Any

import click

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.limits import read_update, spending_options, told
from eleagent.cli.listing import ps
from eleagent.cli.screen import To
from eleagent.cli.states import state_span
from eleagent.cli.transcripts import export, replay
from eleagent.operations.sessions import (
    SESSION_EVENTS,
    SESSION_GET,
    SESSION_HANDOVER,
    SESSION_INPUT,
    SESSION_INTERRUPT,
    SESSION_LIMITS,
    SESSION_PAUSE,
    SESSION_REMOVE,
    SESSION_RENAME,
    SESSION_RESUME,
    SESSION_STOP,
    SESSION_UNPAUSE,
)
from eleagent.wire.driving import SessionHandover
from eleagent.wire.sessions import (
    Accepted,
    Session,
    SessionDetail,
    SessionInput,
    SessionPause,
    SessionRename,
    SessionResume,
    SessionStop,
)


@click.command(cls=Command)
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@click.option("--grace", "grace_s", type=click.FloatRange(0), metavar="SECONDS", help="Between SIGTERM and SIGKILL.")
@pass_invocation
def stop(invocation: Invocation, keys: tuple[str, ...], grace_s: float | None) -> None:
    """Stop sessions: SIGTERM to all that runs in the sandbox, then SIGKILL."""
    for key in keys:
        accepted: Accepted = invocation.client.call(SESSION_STOP, body=SessionStop(grace_s=grace_s), key=key)
        _say_accepted(invocation, accepted)


@click.command(cls=Command)
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@pass_invocation
def wait(invocation: Invocation, keys: tuple[str, ...]) -> int:
    """Wait for sessions to end; exits with the first exit code that is not 0."""
    from eleagent.cli.follow import Ending

    code = 0
    for key in keys:
        detail: SessionDetail = invocation.client.call(SESSION_GET, key=key)
        session = detail.session
        ending = Ending.of(session) if session.state.ended else None
        for item in invocation.client.follow(session.key, after=session.last_seq) if ending is None else ():
            ending = Ending.of_event(session.key, item) or ending
        ending = ending or Ending.ask(invocation.client, session.key)
        if invocation.json:
            invocation.emit(ending.document(invocation.client))
        elif not invocation.quiet:
            reason = f" ({ending.reason})" if ending.reason != ending.state else ""
            invocation.screen.line(session.key, " ", state_span(ending.state), reason)
        code = code or ending.exit_code
    return code


@click.command(cls=Command)
@click.argument("key")
@click.argument("prompt", required=False)
@click.option("-n", "--name", help="A name to call the new session by.")
@click.option("--timeout", metavar="TIME", help="90, 30s, 10m, 2h; counted anew.")
@click.option("-i", "--interactive", is_flag=True, help="Converse: it waits for more when a turn is over.")
@click.option("-d", "--detach", is_flag=True, help="Print the new key and return.")
@pass_invocation
def resume(
    invocation: Invocation,
    key: str,
    prompt: str | None,
    name: str | None,
    timeout: str | None,
    interactive: bool,
    detach: bool,
) -> int:
    """Go on with the ended session KEY: its HOME and files in a new sandbox, under a new key."""
    from eleagent.cli.prompt import read_duration, read_prompt
    from eleagent.wire.approvals import ApprovalMode

    if interactive and not detach:
        from eleagent.cli.attach import check_terminal

        check_terminal(invocation)
    body = SessionResume(
        prompt=None if prompt is None else read_prompt(prompt),
        name=name,
        timeout_s=read_duration("--timeout", timeout),
        approvals=ApprovalMode.POLICY if sys.stdin.isatty() else ApprovalMode.DENY,
        stay=interactive,
    )
    made: Session = invocation.client.call(SESSION_RESUME, body=body, key=key)
    if detach:
        if invocation.json:
            invocation.emit(made)
        else:
            invocation.screen.line(made.key)
        return 0
    if interactive:
        from eleagent.cli.attach import converse

        return converse(invocation, made)
    from eleagent.cli.attend import attend

    return attend(invocation, made, None)


@click.group(cls=Group)
def session() -> None:
    """Sessions: one agent at work in one sandbox."""


session.add_command(ps, "ls")
session.add_command(export)
session.add_command(replay)


@session.command()
@click.argument("key", default="@")
@pass_invocation
def show(invocation: Invocation, key: str) -> None:
    """Show a session, what the host saw of it, and the proof of its isolation."""
    from eleagent.cli.observed import Watcher
    from eleagent.cli.report import Egress, show_session

    client = invocation.client
    detail: SessionDetail = client.call(SESSION_GET, key=key)
    egress, watcher = Egress(), Watcher()
    for event in client.stream(SESSION_EVENTS, key=detail.session.key):
        egress.take(event)
        watcher.take(event)
    observed = watcher.observed()
    if invocation.json:
        report = {"session": detail.session, "report": detail.report, "egress": egress, "observed": observed}
        invocation.emit(report)
    else:
        show_session(invocation.screen, detail, egress, observed)


@session.command()
@click.argument("key")
@click.argument("text")
@pass_invocation
def send(invocation: Invocation, key: str, text: str) -> None:
    """Say something to the agent of session KEY; TEXT - reads stdin."""
    from eleagent.cli.prompt import read_prompt

    accepted = invocation.client.call(SESSION_INPUT, body=SessionInput(text=read_prompt(text)), key=key)
    if invocation.json:
        invocation.emit(accepted)
    elif not invocation.quiet:
        invocation.screen.note(f"accepted as event {accepted.seq}")


@session.command()
@click.argument("key")
@pass_invocation
def interrupt(invocation: Invocation, key: str) -> None:
    """Interrupt the turn that is running; the session lives on."""
    _say_accepted(invocation, invocation.client.call(SESSION_INTERRUPT, key=key))


@session.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@click.option("--reason", default="", help="Why, for the record.")
@pass_invocation
def pause(invocation: Invocation, keys: tuple[str, ...], reason: str) -> None:
    """Stop the clock of all that runs in the sandbox; its time is not counted until it is unpaused."""
    for key in keys:
        _say_accepted(invocation, invocation.client.call(SESSION_PAUSE, body=SessionPause(reason=reason), key=key))


@session.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@pass_invocation
def unpause(invocation: Invocation, keys: tuple[str, ...]) -> None:
    """Let paused sessions go on."""
    for key in keys:
        _say_accepted(invocation, invocation.client.call(SESSION_UNPAUSE, key=key))


@session.command()
@click.argument("key")
@click.argument("name")
@pass_invocation
def rename(invocation: Invocation, key: str, name: str) -> None:
    """Call session KEY by another NAME, one that no other live session of yours has."""
    renamed: Session = invocation.client.call(SESSION_RENAME, body=SessionRename(name), key=key)
    if invocation.json:
        invocation.emit(renamed)
    elif not invocation.quiet:
        invocation.screen.line(renamed.key, "  ", renamed.name)


@session.command()
@click.argument("key")
@spending_options
@pass_invocation
def limit(invocation: Invocation, /, key: str, **given: Any) -> None:
    """Change limits of a live session; one that a limit paused goes on."""
    changed: Session = invocation.client.call(SESSION_LIMITS, body=read_update(given), key=key)
    if invocation.json:
        invocation.emit(changed)
    elif not invocation.quiet:
        invocation.screen.line(changed.key, " ", state_span(changed.state), f"   limits: {told(changed)}")


@session.command()
@click.argument("key")
@click.argument("user", required=False, default="")
@pass_invocation
def handover(invocation: Invocation, key: str, user: str) -> None:
    """Let USER drive session KEY (without USER whoever speaks next). Its owner takes it over by their own name."""
    changed: Session = invocation.client.call(SESSION_HANDOVER, body=SessionHandover(to=user), key=key)
    if invocation.json:
        invocation.emit(changed)
    elif not invocation.quiet:
        invocation.screen.line(changed.key, " is driven by ", changed.driver or "whoever speaks next")


@session.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
@pass_invocation
def rm(invocation: Invocation, keys: tuple[str, ...]) -> None:
    """Delete ended sessions with all that they left: timeline, artefacts, HOME and files. The audit log stays."""
    if not invocation.yes:
        if not (sys.stdin.isatty() and invocation.screen.is_terminal(To.ERR)):
            raise click.UsageError("what is deleted is gone: say --yes")
        invocation.screen.prompt(f"Delete {len(keys)} sessions with all that they left? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise click.Abort
    for key in keys:
        removed: Accepted = invocation.client.call(SESSION_REMOVE, key=key)
        if invocation.json:
            invocation.emit(removed)
        elif not invocation.quiet:
            invocation.screen.line(removed.key, " deleted")


def _say_accepted(invocation: Invocation, accepted: Accepted) -> None:
    if invocation.json:
        invocation.emit(accepted)
    elif not invocation.quiet:
        invocation.screen.line(accepted.key, " ", state_span(accepted.state), to=To.OUT)
