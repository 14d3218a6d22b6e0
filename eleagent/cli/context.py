"""How does a person name daemons and choose between them?"""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.client.address import parse_host
from eleagent.client.contexts import HERE, Context, Contexts
from eleagent.errors import BadRequest, Conflict


@click.group(cls=Group)
def context() -> None:
    """Names for daemons: `local` is the one of this account, others are added."""


@context.command("ls")
@pass_invocation
def list_contexts(invocation: Invocation) -> None:
    """List contexts; the one in use is marked."""
    known = Contexts.load()
    current = known.current or HERE
    if invocation.json:
        invocation.emit({"current": current, "contexts": known.contexts})
        return
    rows: list[list[Span | str]] = [_row(HERE, "this machine's daemon, or your own", None, current)]
    rows += [_row(name, one.host, one.cacert, current) for name, one in known.contexts.items()]
    invocation.screen.table(["", "NAME", "HOST", "AUTHORITIES"], rows)


def _row(name: str, host: str, cacert: str | None, current: str) -> list[Span | str]:
    return [(Style.GOOD, "*" if name == current else ""), (Style.BOLD, name), host, cacert or ""]


@context.command()
@click.argument("name")
@pass_invocation
def use(invocation: Invocation, name: str) -> None:
    """Speak to this daemon from now on, where neither --host nor --context says otherwise."""
    known = Contexts.load()
    found = known.find(name)
    msgspec.structs.replace(known, current=name if found else None).save()
    _say(invocation, f"{name} is in use: {found.host if found else 'the daemon of this account'}")


@context.command()
@click.argument("name")
@click.argument("url")
@pass_invocation
def add(invocation: Invocation, name: str, url: str) -> None:
    """Add a daemon: ssh://[USER@]SERVER[:PORT], https://SERVER[:PORT] (with --cacert FILE for authorities of your own).

    It is in use after eleagent context use NAME.
    """
    known = Contexts.load()
    if name == HERE or name in known.contexts:
        raise Conflict(f"there is a context {name!r} already: take another name, or eleagent context rm {name}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
        raise BadRequest(f"{name!r} is no name: letters, digits, . _ and -, beginning with a letter or digit")
    cacert = str(Path(invocation.cacert).absolute()) if invocation.cacert else None
    made = Context(host=str(parse_host(url)), cacert=cacert)
    msgspec.structs.replace(known, contexts=known.contexts | {name: made}).save()
    _say(invocation, f"{name} is {made.host}; to speak to it: eleagent context use {name}")


@context.command("rm")
@click.argument("name")
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Forget a context. A login there stays: eleagent logout ends it."""
    known = Contexts.load()
    if known.find(name) is None:
        raise BadRequest(f"{HERE} is no context that was added: it stays")
    left = {other: one for other, one in known.contexts.items() if other != name}
    Contexts(current=None if known.current == name else known.current, contexts=left).save()
    _say(invocation, f"{name} is forgotten")


def _say(invocation: Invocation, text: str) -> None:
    if not (invocation.quiet or invocation.json):
        invocation.screen.note(text)
