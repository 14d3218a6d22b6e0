"""What does a person hear when a daemon's audit log is not the one that was seen before?"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from eleagent.cli.invocation import Invocation
from eleagent.cli.screen import Style, To
from eleagent.client.witness import OtherLog, Seen, Witness, asked, succession, witness_folder
from eleagent.errors import EleAgentError

THOROUGH: Final = frozenset({"status", "doctor", "audit"})
"""They check signatures too, and fail where the log does not hold; the others warn, and do what they were asked to."""


def bear_witness(invocation: Invocation, command: str, code: int) -> int:
    """Once a command, when it has waited for the daemon: hold what the answers said of the audit log against what was
    seen before. The exit code.
    """
    client = invocation.used_client
    if client is None or not client.answered or invocation.witnessed:
        return code
    invocation.witnessed = True
    witness = Witness(str(invocation.address), witness_folder())
    thorough = command in THOROUGH
    try:
        with suppress(OSError):  # a home that can't be written
            try:
                witness.check(client.audit_head, asked(client.call), thorough=thorough)
            except OtherLog as other:
                _settle(invocation, witness, other)
    except EleAgentError as error:
        invocation.screen.line((Style.BAD, "eleagent: audit:"), " " + error.message, to=To.ERR)
        return code or (error.exit_code if thorough else 0)
    return code


def _settle(invocation: Invocation, witness: Witness, other: OtherLog) -> None:
    """Ask once whether the other log is the right one; raises `other` where nobody says so."""
    seen = witness.recall()
    if seen is None or invocation.used_client is None:
        raise other
    head = asked(invocation.used_client.call)(0)
    told = succession(seen, head)
    if invocation.json or invocation.quiet or not invocation.screen.interactive:
        raise OtherLog(f"{told}: if that is right, say 'eleagent audit trust'")
    invocation.screen.note(told, Style.WARN)
    invocation.screen.prompt("Is that right? Remember the new log? [y/N] ")
    try:
        answer = input()
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise OtherLog(f"{other.message}: the new one is not remembered; ask {head.begins.actor} what it is")
    witness.trust(head)


def trust(invocation: Invocation) -> Seen:
    """Take the daemon's log as it is now for the right one."""
    head = asked(invocation.client.call)(0)
    return Witness(str(invocation.address), witness_folder()).trust(head)
