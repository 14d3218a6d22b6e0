"""How is a session started from the command line?

What follows it to its end is imported when the daemon is already at work.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.limits import read_limits, sandbox_options, spending_options
from eleagent.cli.prompt import read_duration, read_prompt, read_script, read_source, read_variables
from eleagent.operations.sessions import SESSION_CREATE
from eleagent.wire.approvals import ApprovalMode
from eleagent.wire.sessions import Session, SessionCreate

if TYPE_CHECKING:
    from eleagent.cli.outdir import OutDir

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
@spending_options
@sandbox_options
@click.option("-e", "--env", multiple=True, metavar="K=V", help="A variable inside the sandbox. Repeatable.")
@click.option("--ask", is_flag=True, help="Be asked before each tool (a courtesy, not a control).")
@click.option(
    "--approvals",
    type=click.Choice(["deny", "wait", "policy"]),
    help="What its questions do: deny each at once (not on a terminal), wait for ever, or as the policy says.",
)
@click.option("--model-script", metavar="FILE", help="A script plays the model: a rehearsal without a key.")
@click.option("-i", "--interactive", is_flag=True, help="Converse: it waits for more when a turn is over.")
@click.option("--project", metavar="NAME", help="Whose members may see the session (eleagent project ls).")
@click.option("--private", is_flag=True, help="Not even they.")
@click.option("-d", "--detach", is_flag=True, help="Print the key and return.")
@click.option("--tasks", metavar="FILE", help="A list of units of work, one JSON object a line.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Units at a time.")
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
    tasks: str | None,
    concurrency: int,
    **rest: Any,
) -> int:
    """Start a session and follow it to its end.

    PROMPT goes to an agent (- reads it from stdin); PROGRAM runs by itself in the same sandbox.
    Ctrl-C once interrupts, twice stops. Exits with the session's exit code.

    With --tasks FILE a list is worked off; run again, only what is not done. Exits with the first failed unit's code.
    """
    program: list[str] | None = context.meta.get(PROGRAM)
    if tasks is not None:
        from eleagent.cli.worklist import check_list_flags

        check_list_flags(prompt, program, detach=detach, name=rest["name"])
    elif (program is None) == (prompt is None):
        raise click.UsageError("say what to do: PROMPT (or - for stdin), or -- PROGRAM ARGS…")
    if program == []:
        raise click.UsageError("no program after --")
    if output == "":
        raise click.UsageError("-o '' names no folder")
    if rest["interactive"] and (program or output):
        raise click.UsageError("-i is a conversation with an agent: leave -o out and use eleagent cp afterwards")
    if rest["interactive"] and not detach:
        from eleagent.cli.attach import check_terminal

        check_terminal(invocation)
    if detach and output:
        raise click.UsageError("-o needs the end of the session: leave -d out, or use eleagent cp afterwards")
    body = SessionCreate(
        agent=agent or ("command" if program else "claude"),
        prompt=None if prompt is None else read_prompt(prompt),
        argv=program,
        data=[read_source(path, here=invocation.is_here) for path in rest["data"]],
        name=rest["name"],
        model=rest["model"],
        runtime=rest["runtime"],
        policy=rest["policy"],
        timeout_s=read_duration("--timeout", rest["timeout"]),
        env=read_variables(rest["env"]),
        ask=rest["ask"],
        approvals=ApprovalMode(rest["approvals"] or ("policy" if sys.stdin.isatty() else "deny")),
        stay=rest["interactive"],
        model_script=read_script(rest["model_script"]),
        limits=read_limits(rest),
        project=rest["project"],
        private=rest["private"],
    )
    if tasks is not None:
        from pathlib import Path

        from eleagent.cli.tasks import read_tasks
        from eleagent.cli.worklist import run_list

        path = Path(tasks)
        units = read_tasks(path, body, here=invocation.is_here)
        return run_list(invocation, units, path=path, concurrency=concurrency, output=Path(output) if output else None)
    with ExitStack() as stack:
        folder = stack.enter_context(_make_folder(output)) if output else None
        session: Session = invocation.client.call(SESSION_CREATE, body=body)
        if detach:
            if invocation.json:
                invocation.emit(session)
            else:
                invocation.screen.line(session.key)
            return 0
        if rest["interactive"]:
            from eleagent.cli.attach import converse

            return converse(invocation, session)
        from eleagent.cli.attend import attend

        return attend(invocation, session, folder)


def _make_folder(output: str) -> OutDir:
    from pathlib import Path

    from eleagent.cli.outdir import OutDir

    return OutDir.create(Path(output))
