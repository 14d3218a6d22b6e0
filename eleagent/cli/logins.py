"""How does one log in, which logins are there, and how is one ended?"""

from __future__ import annotations

import click

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.login import log_in
from eleagent.operations.users import LOGIN_LIST, LOGIN_REVOKE
from eleagent.wire.logins import Login, LoginEnded, LoginList


class LoginGroup(Group):
    """A noun that is a verb too: what is none of its verbs is where to log in."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not {*self.commands, "-h", "--help"} & {*args}:
            args = [str(log_in.name), *args]
        return super().parse_args(ctx, args)


@click.group(cls=LoginGroup)
def login() -> None:
    """Log in at a daemon over the network, or see who is.

    eleagent login [URL] [--user NAME]: URL is https://SERVER[:PORT]; without it, the daemon that --host, --context or
    the context in use names. The password is asked on the terminal, or read with --password-stdin; --key-stdin keeps an
    API key instead. On this machine and over ssh the kernel says who you are: no login is needed.
    """


login.add_command(log_in)


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
