"""How are the organization and its members founded, listed and changed?"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import msgspec

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.errors import BadRequest
from eleagent.operations import organization as orgs
from eleagent.operations import users as ops
from eleagent.wire.users import (
    MembershipUpdate,
    Organization,
    OrganizationDelete,
    OrganizationInit,
    OrganizationTransfer,
    OrganizationUpdate,
    PasswordSet,
    User,
    UserCreate,
    UserList,
    UserUpdate,
)

ROLES = click.Choice(["owner", "admin", "member"])
PASSWORD_STDIN = click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")


@click.command(cls=Command)
@click.option("--org", "name", default="My organization", show_default=True, help="The organization's name.")
@click.option("--user", metavar="NAME", help="Its first owner; you, where you do not say.")
@click.option("--unix-user", metavar="ACCOUNT", help="The server's account that is this user on the socket.")
@PASSWORD_STDIN
@pass_invocation
def init(invocation: Invocation, name: str, user: str | None, unix_user: str | None, password_stdin: bool) -> None:
    """Name the organization and its first owner, once; then TCP opens for logins.

    As root through sudo the first owner is the account that called sudo.
    """
    if user is None and os.getuid() == 0 and (sudo := os.environ.get("SUDO_USER", "root")) != "root":
        user, unix_user = sudo, unix_user or sudo
    password = read_password(ask=False) if password_stdin else None
    wanted = OrganizationInit(name=name, user=user, unix_user=unix_user, password=password)
    made: User = invocation.client.call(orgs.ORGANIZATION_INIT, body=wanted)
    if invocation.json:
        invocation.emit(made)
    else:
        invocation.screen.line(f"{name}: {made.name} is its owner")
        invocation.screen.note("more people: eleagent user add NAME --unix-user ACCOUNT")


@click.group(cls=Group)
def user() -> None:
    """Who is a member of the organization, and with which role."""


@user.command("ls")
@pass_invocation
def list_users(invocation: Invocation) -> None:
    """List the users that you may see."""
    found: UserList = invocation.client.call(ops.USER_LIST)
    if invocation.json:
        invocation.emit(found)
    elif invocation.quiet:
        for one in found.users:
            invocation.screen.line(one.name)
    else:
        invocation.screen.table(
            ["NAME", "ROLE", "STATE", "COMES IN BY", "FULL NAME"], [_row(one) for one in found.users]
        )


def _row(one: User) -> list[Span | str]:
    ways = [f"socket as {one.unix_user}"] if one.unix_user else []
    ways += ["password"] if one.password else []
    state: Span = (Style.PLAIN if one.state == "active" else Style.WARN, one.state)
    return [one.name, one.role, state, ", ".join(ways) or "nothing yet", one.full_name]


@user.command("show")
@click.argument("name")
@pass_invocation
def show_user(invocation: Invocation, name: str) -> None:
    """Show one user."""
    _tell(invocation, invocation.client.call(ops.USER_GET, user=name))


@user.command("add")
@click.argument("name")
@click.option("--role", type=ROLES, default="member", show_default=True)
@click.option("--full-name", default="", metavar="TEXT")
@click.option("--unix-user", metavar="ACCOUNT", help="The server's account that is this user on the socket.")
@PASSWORD_STDIN
@pass_invocation
def add_user(
    invocation: Invocation, name: str, role: Any, full_name: str, unix_user: str | None, password_stdin: bool
) -> None:
    """Add a user, who comes in by an account of the server, by a password (eleagent user passwd), or both."""
    password = read_password(ask=False) if password_stdin else None
    wanted = UserCreate(name=name, role=role, full_name=full_name, unix_user=unix_user, password=password)
    _tell(invocation, invocation.client.call(ops.USER_CREATE, body=wanted))


@user.command("edit")
@click.argument("name")
@click.option("--full-name", metavar="TEXT")
@click.option("--role", type=ROLES)
@click.option("--unix-user", metavar="ACCOUNT", help="'' takes the account away.")
@click.option("--disable", "state", flag_value="disabled", help="Let the user do nothing from now on.")
@click.option("--enable", "state", flag_value="active")
@click.option("--unlock", is_flag=True, help="Forget the wrong passwords given so far.")
@pass_invocation
def edit_user(
    invocation: Invocation,
    name: str,
    full_name: str | None,
    role: Any,
    unix_user: str | None,
    state: Any,
    unlock: bool,
) -> None:
    """Change a user; role, state and account act on its next request."""
    wanted = MembershipUpdate(role=role, state=state, unix_user=unix_user, unlock=unlock)
    if full_name is None and wanted == MembershipUpdate():
        raise BadRequest("nothing to change: name --full-name, --role, --unix-user, --disable, --enable or --unlock")
    if full_name is not None:
        changed = invocation.client.call(ops.USER_UPDATE, user=name, body=UserUpdate(full_name=full_name))
    if wanted != MembershipUpdate():
        changed = invocation.client.call(ops.USER_ADMINISTER, user=name, body=wanted)
    _tell(invocation, changed)


@user.command("passwd")
@click.argument("name")
@PASSWORD_STDIN
@pass_invocation
def set_password(invocation: Invocation, name: str, password_stdin: bool) -> None:
    """Set a user's password; its other logins end."""
    password = read_password(ask=not password_stdin)
    _tell(invocation, invocation.client.call(ops.USER_PASSWORD, user=name, body=PasswordSet(password=password)))


@user.command("rm")
@click.argument("name")
@pass_invocation
def remove_user(invocation: Invocation, name: str) -> None:
    """Remove a user; what it owned stays, and nobody gets its name again."""
    _tell(invocation, invocation.client.call(ops.USER_DELETE, user=name))


@click.group(cls=Group)
def org() -> None:
    """The organization."""


@org.command("show")
@pass_invocation
def show_org(invocation: Invocation) -> None:
    """Show the organization and its owners."""
    _tell(invocation, invocation.client.call(orgs.ORGANIZATION_GET))


@org.command("edit")
@click.option("--name", required=True, help="The new name.")
@pass_invocation
def edit_org(invocation: Invocation, name: str) -> None:
    """Rename the organization."""
    _tell(invocation, invocation.client.call(orgs.ORGANIZATION_UPDATE, body=OrganizationUpdate(name=name)))


@org.command("transfer")
@click.argument("user")
@pass_invocation
def transfer_org(invocation: Invocation, user: str) -> None:
    """Make USER owner; you become admin, unless you are one of the server's own accounts."""
    _tell(invocation, invocation.client.call(orgs.ORGANIZATION_TRANSFER, body=OrganizationTransfer(user=user)))


@org.command("rm")
@click.option("--name", required=True, help="The organization's name, so that it is meant.")
@pass_invocation
def remove_org(invocation: Invocation, name: str) -> None:
    """Remove every member, login and key. What sessions left stays on the disk."""
    _tell(invocation, invocation.client.call(orgs.ORGANIZATION_DELETE, body=OrganizationDelete(name=name)))


def read_password(*, ask: bool) -> str:
    """A password from the terminal, asked for twice, or one line of standard input."""
    if ask and sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        raise BadRequest("there is no password on standard input")
    return line


def _tell(invocation: Invocation, found: User | Organization) -> None:
    if invocation.json:
        invocation.emit(found)
        return
    if invocation.quiet:
        invocation.screen.line(found.name)
        return
    for name, value in msgspec.structs.asdict(found).items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        invocation.screen.line((Style.DIM, f"{name.replace('_', ' '):<12}"), text)
