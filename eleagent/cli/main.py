"""What does `eleagent` do with its arguments, and how does it say that something went wrong?

Commands are imported when they are called, so that `--help` and `ps` stay quick.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from typing import Any, NamedTuple

import click

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.screen import Style, To
from eleagent.errors import EleAgentError, Unauthenticated

INTERRUPTED = 130


class Entry(NamedTuple):
    place: str
    help: str


COMMANDS = {
    "run": Entry("run:run", "Start a session and follow it: run PROMPT, or run -- PROGRAM ARGS…"),
    "ps": Entry("listing:ps", "List sessions."),
    "logs": Entry("logs:logs", "Show what a session said and did; --grep, --type and --errors find in it."),
    "diff": Entry("changes:diff", "List the files that a session changed."),
    "attach": Entry("attach:attach", "Converse with a session; ctrl-p ctrl-q leaves it alone."),
    "resume": Entry("sessions:resume", "Go on with an ended session: its HOME and files in a new sandbox."),
    "stop": Entry("sessions:stop", "Stop sessions."),
    "wait": Entry("sessions:wait", "Wait for sessions to end and exit as they did."),
    "status": Entry("system:status", "Which daemon this is and who you are to it."),
    "session": Entry("sessions:session", "ls, show (the isolation report), send, interrupt, pause, unpause, limit."),
    "approve": Entry("approvals:approve", "Allow what a session asks for."),
    "deny": Entry("approvals:deny", "Deny what a session asks for."),
    "approval": Entry("approvals:approval", "ls, show, grants, revoke: what sessions ask people for."),
    "usage": Entry("usage:usage", "What was used of models, and what it cost."),
    "artefact": Entry("artefacts:artefact", "ls and cat what sessions left behind."),
    "cp": Entry("artefacts:cp", "Copy artefacts out: cp KEY:PATH DEST."),
    "agent": Entry("agents:agent", "ls and install agents."),
    "image": Entry("agents:image", "ls and build agents' images."),
    "init": Entry("users:init", "Name the organization and its first owner, once."),
    "user": Entry("users:user", "ls, show, add, edit, passwd and rm who is a member."),
    "login": Entry("logins:login", "Log in over the network; ls and revoke logins."),
    "logout": Entry("login:logout", "End the login at the daemon."),
    "whoami": Entry("login:whoami", "Who the daemon takes you for, and what you may do."),
    "key": Entry("keys:key", "create, ls and revoke API keys."),
    "project": Entry("projects:project", "ls, show, create, edit, archive projects, and their member list."),
    "org": Entry("users:org", "show, edit, transfer and rm the organization."),
    "doctor": Entry("system:doctor", "What this host can enforce, and what to do about the rest."),
    "audit": Entry("audit:audit", "ls, tail, show, export and verify the audit log."),
    "egress": Entry("egress:egress", "ls, tail and top: what sessions reached for on the network."),
    "policy": Entry("policies:policy", "ls and show what may leave a sandbox, and what holds for every session."),
    "context": Entry("context:context", "ls, use, add, rm: names for daemons, here and elsewhere."),
    "daemon": Entry("local:daemon", "run and stop the daemon; rotate-keys."),
    "config": Entry("local:config", "show the daemon's settings and where each came from."),
    "completion": Entry("local:completion", "Print the completion script for bash, zsh or fish."),
    "version": Entry("version:version", "Print the version."),
}
HIDDEN = {"dial-stdio": "dialstdio:dial_stdio"}
ALIASES = {
    "sessions": "session", "artefacts": "artefact", "artifact": "artefact", "artifacts": "artefact",
    "agents": "agent", "images": "image", "users": "user", "logins": "login", "keys": "key", "projects": "project",
    "organization": "org", "audits": "audit", "approvals": "approval",
    "policies": "policy",
}  # fmt: skip


class Root(Group):
    """The top of the tree, whose branches are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        place = entry.place if entry else HIDDEN.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(import_module(f"eleagent.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101  # the table above is wrong otherwise
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would write a newline behind the spinner before it is taken away
            return INTERRUPTED

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _say_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from eleagent.cli.version import say_version

        say_version(context.ensure_object(Invocation))
        context.exit()


@click.group(
    "eleagent", cls=Root, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
@pass_invocation
@click.pass_context
def root(context: click.Context, invocation: Invocation) -> None:
    """Run AI agents over your own project data, confined by the kernel.

    \b
    eleagent daemon run -d                        start the daemon in the background
    eleagent image build claude                   once: get the agent, build its image
    eleagent run --data ./reports -o ./out "…"    the work; artefacts land in ./out

    The daemon takes the model's key from ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN where it is started.

    KEY is a session's name, a unique prefix of its key, or @ for your last one.

    Exit codes: 0; the agent's own; 2 usage; 122 approval unanswered; 123 budget; 124 timed out; 125 daemon or engine;
    126 refused by policy or isolation; 127 no such agent; 130 interrupted; 137 killed.
    """
    if context.invoked_subcommand is not None:
        return
    if sys.stdout.isatty() and sys.stdin.isatty() and not invocation.json:
        if not invocation.is_here:
            with suppress(Unauthenticated):  # the screen asks who it is
                invocation.greet()
        context.exit(import_module("eleagent_tui.app").run(invocation.address))
    command = root.get_command(context, "ps")
    assert command is not None  # noqa: S101  # it is in the table
    context.invoke(command)


def main() -> int:
    """The entry point of the `eleagent` script; returns the exit code. A reader that went away is nothing to tell."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    invocation = Invocation(json="--json" in takewhile(lambda word: word != "--", sys.argv[1:]))
    try:
        return _call(invocation)
    except BrokenPipeError:
        return 1
    finally:
        gc.freeze()  # the kernel takes all memory back at once: nothing need look through it first
        invocation.screen.close()
        try:
            sys.stdout.flush()
        except OSError:  # the interpreter's own flush would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """A stream that the caller closed leads nowhere, so that no file or socket of ours takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  # it stays open


def _call(invocation: Invocation) -> int:
    try:
        code = root.main(prog_name="eleagent", obj=invocation, standalone_mode=False)
        return _witnessed(invocation, code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        hint = f" (see: {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        return _say(invocation, "usage", error.format_message() + hint, 2)
    except EleAgentError as error:
        return _say(invocation, error.code, error.message, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:  # connections are translated where they are made: this is a disk or a terminal
        what = f"{error.filename or 'the output'} can't be used: {error.strerror or error}"
        invocation.screen.line((Style.BAD, "eleagent:"), " " + what, to=To.ERR)
        return 125
    except Exception as error:  # the last line of defence: a person gets a line, never a traceback
        if sys.flags.dev_mode:
            raise
        what = f"{type(error).__name__}: {error} (a bug in this client; PYTHONDEVMODE=1 shows where)"
        return _say(invocation, "internal", what, 125)


def _witnessed(invocation: Invocation, code: int) -> int:
    if invocation.used_client is None:
        return code
    from eleagent.cli.witnessing import bear_witness

    command = next((word for word in sys.argv[1:] if ALIASES.get(word, word) in COMMANDS), "")
    return bear_witness(invocation, ALIASES.get(command, command), code)


def _say(invocation: Invocation, reason: str, message: str, code: int) -> int:
    invocation.screen.line((Style.BAD, "eleagent:"), " " + message, to=To.ERR)
    if invocation.json:
        invocation.emit({"reason": reason, "exit_code": code, "error": message})
    return code


if __name__ == "__main__":
    sys.exit(main())
