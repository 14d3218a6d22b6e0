"""How are the files that a session changed listed?"""

from __future__ import annotations

import click
import msgspec

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.operations.sessions import SESSION_EVENTS


@click.command(cls=Command)
@click.argument("key", default="@")
@click.option(
    "-a", "--all", "everything", is_flag=True, help="The files in HOME too, which the agent keeps for itself."
)
@pass_invocation
def diff(invocation: Invocation, key: str, everything: bool) -> None:
    """List the files that session KEY (the last one, if none is named) created (A), changed (M), renamed (R) or
    deleted (D), as the host saw them.
    """
    from eleagent.cli.observed import Files
    from eleagent.cli.observedcards import HOME, row
    from eleagent.cli.views import payload_of
    from eleagent.wire.observations import FilesChanged

    files, looked, screen = Files(), False, invocation.screen
    for event in invocation.client.stream(SESSION_EVENTS, key=key):
        payload = payload_of(event) if event.type == FilesChanged.type else None
        if isinstance(payload, FilesChanged):
            looked = True
            files.add(payload.changes)
    net = files.net()
    shown = [one for one in net if everything or not one.path.startswith(HOME)]
    if invocation.json:
        invocation.emit({"changes": msgspec.to_builtins(shown), "looked": looked})
        return
    for one in shown if invocation.quiet else ():
        screen.line(one.path)
    if invocation.quiet:
        return
    if shown:
        screen.table(["", "PATH", "SIZE", ""], [row(one) for one in shown])
    elif looked:
        screen.note("no files changed")
    else:
        screen.note("the files were not looked at yet: that is done at the end of each turn and of the session")
    if hidden := len(net) - len(shown):
        screen.note(f"{hidden} more in HOME (--all shows them)")
