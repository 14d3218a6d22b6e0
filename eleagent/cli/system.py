"""What is this daemon, and what can it enforce here?"""

from __future__ import annotations

from collections.abc import Iterator

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.client.address import Address, UnixSocket
from eleagent.errors import DaemonUnreachable
from eleagent.operations.system import DOCTOR, STATUS
from eleagent.wire.system import Doctor, Status

LEVELS = {"ok": Style.GOOD, "warn": Style.WARN, "fail": Style.BAD}


@click.command(cls=Command)
@click.option("--short", is_flag=True, help="A few words, for a prompt or tmux's status line; `off` without a daemon.")
@pass_invocation
def status(invocation: Invocation, short: bool) -> None:
    """Which daemon this is, who you are to it, and what it does. Starts none."""
    try:
        found: Status = invocation.running_client.call(STATUS)
    except DaemonUnreachable:
        if not short:
            raise
        invocation.screen.line("off")
        return
    if short:
        invocation.witnessed = True  # in a shell's prompt nothing more is said, and no question put
    if invocation.json:
        invocation.emit(found)
    elif short:
        invocation.screen.line(_short(found))
    else:
        for name, value in _lines(found, invocation.address):
            invocation.screen.line((Style.DIM, f"{name:<11}"), value)


def _short(found: Status) -> str:
    counts = ((found.sessions_live - found.sessions_queued, "running"), (found.sessions_queued, "queued"))
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "idle"


def _lines(found: Status, address: Address) -> Iterator[tuple[str, str]]:
    whose = "your own, " if isinstance(address, UnixSocket) and address.own else ""
    yield "daemon", f"{whose}at {address} · version {found.version} · pid {found.pid} as {found.user}"
    ends = f" · ends after {found.idle_s / 60:g} min without sessions and clients" if found.idle_s else ""
    yield "since", f"{found.started}{ends}"
    yield "home", f"{found.home} · installation {found.installation}"
    yield "you", f"{found.caller} ({found.role})"
    why = f" ({found.runtime_why})" if found.runtime_why else ""
    yield "runtime", f"{found.runtime}{why} · {found.engine} · launcher {found.launcher}"
    yield (
        "isolation",
        f"confinement always · resource limits {found.mode} (what holds here: eleagent doctor)",
    )
    yield "model", found.model
    yield "sessions", f"{found.sessions_live} live, {found.sessions_queued} of them queued · {found.slots} slots"
    trouble = f" · {found.audit_trouble}" if found.audit_trouble else ""
    yield "audit", f"{found.audit_records} records · head {found.audit_head}{trouble}"


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
