"""What is this daemon, what can it enforce here, and what does its audit log say?"""

from __future__ import annotations

import click
import msgspec

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.operations.system import DOCTOR, STATUS
from eleagent.version import __version__
from eleagent.wire.system import Doctor, Status

LEVELS = {"ok": Style.GOOD, "warn": Style.WARN, "fail": Style.BAD}


@click.command(cls=Command)
@pass_invocation
def status(invocation: Invocation) -> None:
    """Which daemon this is and who you are to it."""
    found: Status = invocation.client.call(STATUS)
    if invocation.json:
        invocation.emit(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        invocation.screen.line((Style.DIM, f"{name.replace('_', ' '):<17}"), str(value))


@click.command(cls=Command)
@pass_invocation
def doctor(invocation: Invocation) -> int:
    """What this host can enforce, and what to do about the rest. Exits with 125 when something does not work."""
    found: Doctor = invocation.client.call(DOCTOR)
    if invocation.json:
        invocation.emit(found)
    for finding in () if invocation.json else found.findings:
        level: Span = (LEVELS.get(finding.level, Style.BAD), f"{finding.level:<5}")
        invocation.screen.line(level, (Style.BOLD, finding.name), f"  {finding.found}")
        if finding.fix:
            invocation.screen.line("      → ", finding.fix)
    return 125 if any(finding.level == "fail" for finding in found.findings) else 0


@click.command(cls=Command)
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print this client's version."""
    if invocation.json:
        invocation.emit({"version": __version__})
    else:
        invocation.screen.line(f"eleagent {__version__}")
