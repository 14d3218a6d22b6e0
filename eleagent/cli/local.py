"""What is done on this machine without asking the daemon: starting it, showing its settings, completing words?"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click
from click.shell_completion import get_completion_class

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation

FORWARD = {"ignore_unknown_options": True, "help_option_names": []}


@click.group(cls=Group)
def daemon() -> None:
    """The daemon of this machine."""


@daemon.command("run", context_settings=FORWARD, add_help_option=False, cls=click.Command)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run_daemon(arguments: tuple[str, ...]) -> None:
    """Run eleagentd and its launcher in this terminal until SIGTERM or Ctrl-C; sessions outlive them."""
    _become("eleagent_daemon.daemonctl", "run", *arguments)


@click.group(cls=Group)
def config() -> None:
    """The daemon's settings."""


@config.command("show", context_settings=FORWARD, add_help_option=False, cls=click.Command)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_invocation
def show_config(invocation: Invocation, arguments: tuple[str, ...]) -> None:
    """Show each setting, its value and where it came from."""
    json = ["--json"] if invocation.json and "--json" not in arguments else []
    _become("eleagent_daemon.config", "show", *json, *arguments)


def _become(module: str, *arguments: str) -> NoReturn:
    sys.stdout.flush()
    # -P: a folder called eleagent_daemon in the working directory is not ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606  # no shell is the point


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script: eleagent completion bash > ~/.local/share/bash-completion/completions/eleagent."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  # click knows all three
    root = context.find_root().command
    click.echo(found(root, {}, "eleagent", "_ELEAGENT_COMPLETE").source())
