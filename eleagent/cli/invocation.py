"""Which flags does every command take, and what does a command get from them?"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from eleagent.cli.screen import Screen

if TYPE_CHECKING:
    from eleagent.client.address import Address
    from eleagent.client.api import Client
    from eleagent.errors import StepUp


class Invocation:
    """The global flags of one command line, and what is made from them; for `--help` nothing is."""

    host: str | None = None
    context: str | None = None
    because: str | None = None
    cacert: str | None = None
    quiet: bool = False
    no_color: bool = False
    yes: bool = False
    witnessed: bool = False
    """What the daemon says of its audit log was held against what was seen before, or is not to be."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    @cached_property
    def address(self) -> Address:
        from eleagent.client.locate import find_daemon

        return find_daemon(self.host, context=self.context, cacert=self.cacert, uid=os.getuid())

    @property
    def is_here(self) -> bool:
        """Whether the daemon runs on this machine, so that its paths are ours."""
        from eleagent.client.address import UnixSocket

        return isinstance(self.address, UnixSocket)

    @cached_property
    def client(self) -> Client:
        from eleagent.client.api import Client

        say = None if self.quiet or self.json else self.screen.note
        return Client(at=self.address, say=say, because=self.because, ask_password=self._password_again)

    def _password_again(self, why: StepUp) -> str:
        from eleagent.cli.password import ask_password
        from eleagent.errors import BadRequest, StepUp

        wanted = why.message.partition(":")[0]
        try:
            return ask_password(f"{wanted}.\nYour password at {self.address}: ")
        except BadRequest:
            advice = f"eleagent login {self.address} --password-stdin gives it"
            raise StepUp(f"{wanted}, and there is no terminal to ask for it on: {advice}") from None

    @property
    def used_client(self) -> Client | None:
        """The client, where the command had one."""
        return self.__dict__.get("client") or self.__dict__.get("running_client")

    @cached_property
    def running_client(self) -> Client:
        """One that starts no daemon."""
        from eleagent.client.api import Client

        return Client(at=self.address, start=False)

    def greet(self) -> None:
        """Speak to the daemon once: what ssh asks, and what is wrong on the way, is said while the terminal is free."""
        from eleagent.operations.system import STATUS

        self.client.call(STATUS)

    @cached_property
    def screen(self) -> Screen:
        plain = self.no_color or self.json or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return Screen(out=sys.stdout, err=sys.stderr, color=not plain)

    def emit(self, answer: Any) -> None:
        """Print `answer` (a wire type or plain data) as one line of JSON."""
        import msgspec

        self.screen.document(msgspec.json.encode(answer).decode())


pass_invocation = click.make_pass_decorator(Invocation)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name:
        setattr(context.ensure_object(Invocation), parameter.name, value)


def _global_options() -> list[click.Parameter]:
    common: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return [
        click.Option(
            ["--host"],
            metavar="URL",
            help="The daemon: unix:///PATH, ssh://[USER@]SERVER[:PORT] or https://SERVER[:PORT] (or $ELEAGENT_HOST).",
            **common,
        ),
        click.Option(["--context"], metavar="NAME", help="The daemon of this name (or $ELEAGENT_CONTEXT).", **common),
        click.Option(
            ["--because"], metavar="TEXT", help="Why you read what is others': the audit log has it.", **common
        ),
        click.Option(["--cacert"], metavar="FILE", help="Trust these authorities alone, for https.", **common),
        click.Option(["--json"], is_flag=True, help="Answer in JSON.", **common),
        click.Option(["-q", "--quiet", "quiet"], is_flag=True, help="Only the answer itself.", **common),
        click.Option(["--no-color"], is_flag=True, help="No colours (or $NO_COLOR).", **common),
        click.Option(["--yes"], is_flag=True, help="Replace files and take hidden ones (run -o, cp).", **common),
    ]


_GLOBAL_OPTIONS = _global_options()


class Command(click.Command):
    """A command that takes the global flags too, so that they may stand before and after it."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(_GLOBAL_OPTIONS)


class Group(click.Group):
    """A noun; its verbs are Commands."""

    command_class = Command

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(_GLOBAL_OPTIONS)
