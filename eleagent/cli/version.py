"""Which version is this client? `--version` and `version` say the same, and load nothing else for it."""

from __future__ import annotations

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.version import __version__


@click.command(cls=Command)
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print this client's version."""
    say_version(invocation)


def say_version(invocation: Invocation) -> None:
    if invocation.json:
        invocation.emit({"version": __version__})
    else:
        invocation.screen.line(f"eleagent {__version__}")
