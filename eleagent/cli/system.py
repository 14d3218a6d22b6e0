"""What is this daemon, what can it enforce here, and what does its audit log say?"""

from __future__ import annotations

import click
import msgspec

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.operations.audit import AUDIT_LIST
from eleagent.operations.system import DOCTOR, STATUS
from eleagent.version import __version__
from eleagent.wire.system import AuditList, AuditRecord, Doctor, Status

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


@click.group(cls=Group)
def audit() -> None:
    """The audit log: who did what, and was it allowed."""


@audit.command("ls")
@click.option("--session", "key", metavar="KEY", help="Of one session.")
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="The records that follow this one.")
@click.option("-n", "--limit", type=click.IntRange(1), default=200, show_default=True, help="At most so many.")
@pass_invocation
def list_(invocation: Invocation, key: str | None, after: int | None, limit: int) -> None:
    """List the newest audit records, oldest first."""
    newest = True if after is None else None
    query = {"after": after, "limit": limit, "session": key, "newest": newest}
    found: AuditList = invocation.client.call(AUDIT_LIST, query=query)
    if invocation.json:
        invocation.emit(found)
        return
    head = ["SEQ", "TIME", "PHASE", "ACTOR", "ACTION", "DECISION", "OBJECT", "OUTCOME"]
    invocation.screen.table(head, [_row(record) for record in found.records])
    if found.next is not None:
        invocation.screen.note(f"more: eleagent audit ls --after {found.next}")


def _row(record: AuditRecord) -> list[Span | str]:
    decision: Span = (Style.PLAIN if record.decision in ("", "allow", "allowed") else Style.BAD, record.decision)
    return [
        str(record.seq), record.ts[:19], record.phase, record.actor, record.action, decision,
        record.object or record.session, record.outcome,
    ]  # fmt: skip


@click.command(cls=Command)
@pass_invocation
def version(invocation: Invocation) -> None:
    """Print this client's version."""
    if invocation.json:
        invocation.emit({"version": __version__})
    else:
        invocation.screen.line(f"eleagent {__version__}")
