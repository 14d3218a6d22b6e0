"""Which logins are there, and how is one ended?"""

from __future__ import annotations

import click

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.operations.users import LOGIN_LIST, LOGIN_REVOKE
from eleagent.wire.logins import Login, LoginEnded, LoginList


@click.group(cls=Group)
def login() -> None:
    """Who is logged in over the network."""


@login.command("ls")
@pass_invocation
def list_logins(invocation: Invocation) -> None:
    """List the logins that you may see."""
    found: LoginList = invocation.client.call(LOGIN_LIST)
    if invocation.json:
        invocation.emit(found)
    else:
        head = ["ID", "USER", "FROM", "SINCE", "SEEN", "ENDS", "NOTE"]
        invocation.screen.table(head, [_row(one) for one in found.logins])


def _row(one: Login) -> list[str]:
    mark = " (this one)" if one.current else ""
    return [one.id + mark, one.user, one.address, one.created, one.seen, one.expires, one.note]


@login.command("revoke")
@click.argument("identifier", metavar="ID")
@pass_invocation
def revoke_login(invocation: Invocation, identifier: str) -> None:
    """End a login; its open streams end within a second."""
    ended: LoginEnded = invocation.client.call(LOGIN_REVOKE, login=identifier)
    if invocation.json:
        invocation.emit(ended)
    else:
        invocation.screen.line(f"login {ended.id} has ended")
