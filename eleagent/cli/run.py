"""How is a session started from the command line and followed to its end?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eleagent.cli.cards import human_size, some
from eleagent.cli.copying import complain, copy
from eleagent.cli.follow import Ending, Follower
from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.outdir import OutDir
from eleagent.cli.prompt import read_duration, read_prompt, read_script, read_source, read_variables
from eleagent.cli.report import tokens
from eleagent.cli.screen import Style, To
from eleagent.cli.sessions import state_span
from eleagent.cli.views import choose_view
from eleagent.operations import ARTEFACT_LIST, SESSION_CREATE
from eleagent.wire.sessions import ArtefactList, Session, SessionCreate, State

PROGRAM = "eleagent.run.program"


class RunCommand(Command):
    """Keeps what follows `--` apart: it is a program's, not ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[PROGRAM] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS]", "PROMPT|-", "|", "[OPTIONS] -- PROGRAM ARGS…"]


@click.command(cls=RunCommand)
@click.argument("prompt", required=False)
@click.option("-a", "--agent", help="Which agent (claude; command for a program).")
@click.option("--data", multiple=True, metavar="PATH", help="A folder or file to read, in /data. Repeatable.")
@click.option("-o", "--output", metavar="DIR", help="Copy the artefacts there afterwards.")
@click.option("-m", "--model", help="Which model.")
@click.option("-n", "--name", help="A name to call the session by.")
@click.option("--runtime", help="Which runtime makes the sandbox.")
@click.option("--policy", help="What the sandbox may reach.")
@click.option("--timeout", metavar="TIME", help="90, 30s, 10m, 2h; counted from the start of the work.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="A variable inside the sandbox. Repeatable.")
@click.option("--ask", is_flag=True, help="Be asked before each tool (a courtesy, not a control).")
@click.option("--model-script", metavar="FILE", help="A script plays the model: a rehearsal without a key.")
@click.option("-d", "--detach", is_flag=True, help="Print the key and return.")
@pass_invocation
@click.pass_context
def run(
    context: click.Context,
    invocation: Invocation,
    /,
    prompt: str | None,
    agent: str | None,
    output: str | None,
    detach: bool,
    **rest: Any,
) -> int:
    """Start a session and follow it to its end.

    PROMPT goes to an agent (- reads it from stdin); PROGRAM runs by itself in the same sandbox.
    Ctrl-C once interrupts, twice stops. Exits with the session's exit code.
    """
    program: list[str] | None = context.meta.get(PROGRAM)
    if (program is None) == (prompt is None):
        raise click.UsageError("say what to do: PROMPT (or - for stdin), or -- PROGRAM ARGS…")
    if program == []:
        raise click.UsageError("no program after --")
    if output == "":
        raise click.UsageError("-o '' names no folder")
    if detach and output:
        raise click.UsageError("-o needs the end of the session: leave -d out, or use eleagent cp afterwards")
    body = SessionCreate(
        agent=agent or ("command" if program else "claude"),
        prompt=None if prompt is None else read_prompt(prompt),
        argv=program,
        data=[read_source(path) for path in rest["data"]],
        name=rest["name"],
        model=rest["model"],
        runtime=rest["runtime"],
        policy=rest["policy"],
        timeout_s=read_duration("--timeout", rest["timeout"]),
        env=read_variables(rest["env"]),
        ask=rest["ask"],
        model_script=read_script(rest["model_script"]),
    )
    with ExitStack() as stack:
        folder = stack.enter_context(OutDir.create(Path(output))) if output else None
        session: Session = invocation.client.call(SESSION_CREATE, body=body)
        if detach:
            if invocation.json:
                invocation.emit(session)
            else:
                invocation.screen.line(session.key)
            return 0
        return _follow(invocation, session, folder)


def _follow(invocation: Invocation, session: Session, folder: OutDir | None) -> int:
    screen = invocation.screen
    if not (invocation.json or invocation.quiet):
        screen.note(f"session {session.key}")
        screen.status(f"starting {session.key}")
    view = choose_view(invocation, key=session.key, asked=session.ask)
    ending = Follower(invocation=invocation, key=session.key, view=view, asks=session.ask).follow()
    listed = None
    if folder or not (invocation.json or invocation.quiet):
        listed = invocation.client.call(ARTEFACT_LIST, key=session.key)
    if folder and listed:
        ending.exit_code = _copy(invocation, ending, listed, folder) or ending.exit_code
    if invocation.json:
        invocation.emit(ending.document(invocation.client))
    elif invocation.quiet or listed is None:
        if not ending.by_itself and ending.state is not State.SUCCEEDED:
            screen.line(
                (Style.BAD, "eleagent:"), f" {session.key} {ending.state}: {ending.detail or ending.reason}", to=To.ERR
            )
    else:
        _summary(invocation, ending, listed, folder)
    return ending.exit_code


def _copy(invocation: Invocation, ending: Ending, listed: ArtefactList, folder: OutDir) -> int:
    """Copy the artefacts; returns the exit code of the first failure where the session itself had none."""
    code = copy(invocation, ending.key, [(artefact.path, artefact) for artefact in listed.artefacts], folder)
    if code:
        complain(invocation, f"the session still has it: eleagent cp {ending.key}:. DEST")
    return 0 if ending.exit_code else code


def _summary(invocation: Invocation, ending: Ending, listed: ArtefactList, folder: OutDir | None) -> None:
    screen = invocation.screen
    reason = f" ({ending.reason})" if ending.reason != ending.state else ""
    how = f"{reason} · exit {ending.exit_code}" + (f" · {ending.detail}" if ending.detail else "")
    if not screen.is_terminal(To.ERR):
        screen.note(f"session {ending.key} {ending.state}{how}")
        return
    screen.line("", to=To.ERR)
    screen.line(state_span(ending.state), how, to=To.ERR)
    if listed.artefacts:
        names = some([f"{artefact.path} ({human_size(artefact.size_bytes)})" for artefact in listed.artefacts])
        where = f" → {folder.path}" if folder else f"   (eleagent cp {ending.key}:. DEST)"
        screen.line((Style.DIM, "  artefacts  "), names, (Style.DIM, where), to=To.ERR)
    if used := tokens(ending.usage):
        screen.line((Style.DIM, "  tokens     "), used, to=To.ERR)
    screen.line((Style.DIM, "  proof      "), f"eleagent session show {ending.key}", to=To.ERR)
