"""How does a person log in at a daemon, out of it, and see who it takes them for?"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.password import ask_password
from eleagent.cli.screen import Style
from eleagent.client.address import parse_host
from eleagent.client.contexts import Context, Contexts
from eleagent.client.remote import Web
from eleagent.errors import BadRequest, ConfigError, DaemonUnreachable, Unauthenticated
from eleagent.operations.logins import LOGIN_CREATE, LOGOUT, WHOAMI
from eleagent.wire.logins import LoginCreate, Tokens, Whoami

if TYPE_CHECKING:
    from eleagent.client.credentials import Credentials

KEY_PREFIX = "eak_"


class _Secrets(NamedTuple):
    user: str
    password: str


@click.command("in", cls=Command, hidden=True, options_metavar="[OPTIONS]")
@click.argument("url", required=False)
@click.option("-u", "--user", help="Whom to log in as (the name of your account here, unless you say).")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin instead of the terminal.")
@click.option("--key-stdin", is_flag=True, help="Keep an API key, read from stdin, instead of logging in.")
@pass_invocation
def log_in(invocation: Invocation, url: str | None, user: str | None, password_stdin: bool, key_stdin: bool) -> None:
    """Log in at a daemon over the network; it is in use from then on.

    URL is https://SERVER[:PORT], or the daemon that --host, --context or the context in use names. On this machine and
    over ssh the kernel says who you are: no login is needed.
    """
    from eleagent.client.credentials import Credentials, Stored

    if url and not invocation.host and not invocation.context:
        invocation.host = url
    address = invocation.address
    if not isinstance(address, Web):
        raise BadRequest(f"at {address} the kernel says who you are, nobody logs in there (see: eleagent whoami)")
    if password_stdin and key_stdin:
        raise click.UsageError("stdin holds a password or a key, not both")
    if key_stdin:
        name = _keep_key(invocation, Credentials(address))
    else:
        asked = _ask(user, address, from_stdin=password_stdin)
        note = socket.gethostname()
        body = LoginCreate(user=asked.user, password=asked.password, note=note)
        tokens: Tokens = invocation.client.call(LOGIN_CREATE, body=body)
        Credentials(address).keep(Stored(tokens=tokens))
        name = tokens.user
    used = _use(invocation, address)
    if invocation.json:
        invocation.emit({"host": str(address), "user": name, "context": used})
    elif not invocation.quiet:
        invocation.screen.note(f"logged in at {address} as {name}" + (f"; in use as context {used}" if used else ""))


def _keep_key(invocation: Invocation, credentials: Credentials) -> str:
    """Whose key it is. One that the daemon does not know is not kept."""
    from eleagent.client.credentials import Stored

    credentials.keep(Stored(key=_read_key()))
    try:
        who: Whoami = invocation.client.call(WHOAMI)
    except BaseException:
        credentials.keep(None)
        raise
    return who.user


def _read_key() -> str:
    key = sys.stdin.readline().strip()
    if not key.startswith(KEY_PREFIX):
        raise BadRequest(f"stdin holds no API key: one begins with {KEY_PREFIX} (eleagent key create makes one)")
    return key


def _ask(user: str | None, address: Web, *, from_stdin: bool) -> _Secrets:
    """Never from an argument, which anybody on the machine can read."""
    user = user or getpass.getuser()
    ask = f"Password of {user} at {address}: "
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else ask_password(ask)
    if not password:
        raise BadRequest("the password is empty")
    return _Secrets(user, password)


def _use(invocation: Invocation, address: Web) -> str | None:
    """The context by which this daemon is in use now; None where the environment says which one is."""
    if invocation.context or os.environ.get("ELEAGENT_HOST") or os.environ.get("ELEAGENT_CONTEXT"):
        return None
    known = Contexts.load()
    cacert = os.path.abspath(invocation.cacert) if invocation.cacert else None  # noqa: PTH100
    name = next(
        (name for name, one in known.contexts.items() if parse_host(one.host) == address._replace(cacert=None)), None
    )
    context = Context(host=str(address), cacert=cacert or (known.contexts[name].cacert if name else None))
    name = name or _free_name(address, known)
    Contexts(current=name, contexts=known.contexts | {name: context}).save()
    return name


def _free_name(address: Web, known: Contexts) -> str:
    usual = address.server if address.server[0].isalnum() and ":" not in address.server else "server"
    taken = {*known.contexts, "local"}
    return next(name for name in (usual, *(f"{usual}-{number}" for number in range(2, 1000))) if name not in taken)


@click.command(cls=Command)
@pass_invocation
def logout(invocation: Invocation) -> None:
    """End the login at the daemon, and forget it here."""
    from eleagent.client.credentials import KEY_VARIABLE, Credentials

    address = invocation.address
    if not isinstance(address, Web):
        raise BadRequest(f"at {address} the kernel says who you are: there is no login to end")
    credentials = Credentials(address)
    stored = credentials.find()
    if stored is None:
        advice = f"; {KEY_VARIABLE} is set" if os.environ.get(KEY_VARIABLE) else ""
        raise ConfigError(f"you are not logged in at {address}{advice}")
    ended = True
    try:
        if stored.tokens is not None:
            invocation.client.call(LOGOUT)
    except Unauthenticated:
        pass  # it was over already
    except DaemonUnreachable as error:
        ended = False
        invocation.screen.note(f"{error.message}: the login is forgotten here, and ends there by itself", Style.WARN)
    credentials.keep(None)
    if ended and not invocation.quiet:
        invocation.screen.note(f"logged out at {address}")


@click.command(cls=Command)
@pass_invocation
def whoami(invocation: Invocation) -> None:
    """Who the daemon takes you for, and what you may do."""
    found: Whoami = invocation.client.call(WHOAMI)
    if invocation.json:
        invocation.emit(found)
        return
    screen = invocation.screen
    if invocation.quiet:
        screen.line(found.user)
        return
    until = f" · until {found.expires}" if found.expires else ""
    lines = [
        ("you", f"{found.user} ({found.role} of {found.organization})" + (f" · {found.name}" if found.name else "")),
        ("known by", f"{found.via} {found.credential}".rstrip() + until),
        ("at", str(invocation.address)),
    ]
    if found.projects:
        lines.append(("projects", ", ".join(found.projects)))
    for name, value in lines:
        screen.line((Style.DIM, f"{name:<10}"), value)
    screen.table(["PERMISSION", "OVER"], sorted([name, reach] for name, reach in found.permissions.items()))
