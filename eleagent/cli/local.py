"""What is done on the daemon's machine: starting and stopping it, showing its settings, completing words?"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click
from click.shell_completion import get_completion_class

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation

FORWARD = {"ignore_unknown_options": True}


@click.group(cls=Group)
def daemon() -> None:
    """The daemon of this machine."""


@daemon.command(
    "run",
    context_settings=FORWARD,
    cls=click.Command,
    options_metavar="[-d|--detach] [--config FILE] [--SETTING VALUE]…",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="")
def run_daemon(arguments: tuple[str, ...]) -> None:
    """Run the daemon until Ctrl-C or SIGTERM; sessions outlive it.

    -d runs it in the background and returns when it answers; eleagent daemon stop ends it.
    Every setting of `eleagent config show` is a flag too: session.slots is --session-slots.
    """
    _become("eleagent_daemon.daemonctl", "run", *arguments)


@daemon.command("stop")
@pass_invocation
def stop_daemon(invocation: Invocation) -> None:
    """End the daemon and wait until it has; its sessions go on, and the next one takes them up.

    It takes an owner, on the daemon's own machine or by --host ssh://SERVER, where it is told to and not waited for.
    """
    from eleagent.cli.farewell import await_end
    from eleagent.operations.system import DAEMON_STOP
    from eleagent.wire.system import Stopping

    stopping: Stopping = invocation.running_client.call(DAEMON_STOP)
    invocation.witnessed = True  # one that ends is asked for nothing more
    if invocation.is_here:
        await_end(stopping)
    if invocation.json:
        invocation.emit(stopping)
        return
    count, pid = stopping.sessions_live, stopping.pid
    # To ask there whether it has gone would start one's own anew.
    ends = f"has ended (it was pid {pid})" if invocation.is_here else f"at {invocation.address} ends (pid {pid} there)"
    rest = "session goes" if count == 1 else "sessions go"
    tail = f"; {count} {rest} on, and the next daemon takes over" if count else ""
    invocation.screen.line(f"the daemon {ends}{tail}")


@daemon.command("rotate-keys")
@click.option("--at-once", is_flag=True, help="What the old keys signed counts no more: every login ends.")
@pass_invocation
def rotate_keys(invocation: Invocation, at_once: bool) -> None:
    """Sign logins with fresh keys; what the old ones signed counts for a day more.

    The audit log has a key of its own: eleagent audit rotate-key.
    """
    from eleagent.operations.organization import KEYS_ROTATE
    from eleagent.wire.system import KeysRotate, KeysRotated

    rotated: KeysRotated = invocation.client.call(KEYS_ROTATE, body=KeysRotate(at_once=at_once))
    if invocation.json:
        invocation.emit(rotated)
    else:
        invocation.screen.line(f"key {rotated.key} signs from now on; {rotated.logins_ended} logins ended")


@click.group(cls=Group)
def config() -> None:
    """The daemon's settings."""


@config.command("show", context_settings=FORWARD, cls=click.Command, options_metavar="[--json] [--config FILE]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="")
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
