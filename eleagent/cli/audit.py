"""Who did what, was it allowed, and can anyone have changed the record?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import click
import msgspec

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.cli.tailing import PAGE
from eleagent.cli.tailing import tail as show_tail
from eleagent.client.locate import default_home
from eleagent.errors import BadRequest, NotFound
from eleagent.operations.audit import AUDIT_GET, AUDIT_LIST, AUDIT_RESTART, AUDIT_ROTATE_KEY
from eleagent.wire.audit import AuditEntry, AuditList, AuditRecord, LogHead, LogRestart

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEAD: Final = ["SEQ", "TIME", "PHASE", "ACTOR", "ACTION", "DECISION", "OBJECT", "OUTCOME"]


@click.group(cls=Group)
def audit() -> None:
    """The audit log: who did what, was it allowed, and can anyone have changed the record?"""


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--text", metavar="WORDS", help="Whose words are in it, in a row; * for the rest of the last."),
        click.option("--path", metavar="PATH", help="About this file; * at an end stands for anything."),
        click.option("--to", "to_host", metavar="HOST", help="About this host; *.example.com too."),
        click.option("--decision", type=click.Choice(["allowed", "denied", "refused"]), help="What was decided."),
        click.option("--session", metavar="KEY", help="Of one session."),
        click.option("--object", "target", metavar="OBJECT", help="About this object."),
        click.option("--action", metavar="NOUN.VERB", help="Of this kind (egress.*)."),
        click.option("--actor", metavar="NAME", help="Of this person, machine or session."),
        click.option("--until", metavar="TIME", help="Before this time."),
        click.option("--since", metavar="TIME", help="From this time on: 2026-01-31, 2026-01-31T12:00Z, or 36h ago."),
    ):
        command = option(command)
    return command


def _query(**given: Any) -> dict[str, Any]:
    """The filters as the operation has them."""
    given["object"], given["host"] = given.pop("target"), given.pop("to_host")
    for name in ("since", "until"):
        if given[name] is not None:
            given[name] = _time(given[name])
    return given


def _time(text: str) -> str:
    if match := re.fullmatch(r"(\d+)([smhd])(?: ago)?", text):
        return (datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])).isoformat()
    return text


@audit.command("ls")
@_filters
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="The records that follow this one.")
@click.option("--before", type=click.IntRange(1), metavar="SEQ", help="The records that lead up to this one.")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=200, show_default=True, help="At most so many.")
@pass_invocation
def list_(invocation: Invocation, /, after: int | None, before: int | None, limit: int, **filters: Any) -> None:
    """List the newest audit records, oldest first."""
    query = {**_query(**filters), "limit": limit, "after": after, "before": before}
    found: AuditList = invocation.client.call(AUDIT_LIST, query=query | {"newest": True if after is None else None})
    if invocation.json:
        invocation.emit(found)
        return
    invocation.screen.table(_HEAD, map(_row, found.records))
    if found.next is not None:
        invocation.screen.note(f"more: eleagent audit ls --{'before' if after is None else 'after'} {found.next}")


@audit.command()
@_filters
@click.option("-f", "--follow", is_flag=True, help="Go on as records come.")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=20, show_default=True, help="Begin so far back.")
@pass_invocation
def tail(invocation: Invocation, /, follow: bool, limit: int, **filters: Any) -> None:
    """Show the newest audit records, one a line, and with -f those that come."""
    show_tail(
        invocation,
        AUDIT_LIST,
        _query(**filters),
        limit=limit,
        follow=follow,
        records=lambda found: cast(AuditList, found).records,
        number=lambda record: record.seq,
        say=partial(_say, invocation),
    )


@audit.command()
@click.argument("seq", type=click.IntRange(1))
@click.option("--proof", is_flag=True, help="Its inclusion proof (c2sp.org/tlog-proof).")
@pass_invocation
def show(invocation: Invocation, seq: int, proof: bool) -> None:
    """Show one audit record, or the proof that it is in the log."""
    entry: AuditEntry = invocation.client.call(AUDIT_GET, seq=str(seq))
    if proof and not entry.proof:
        raise NotFound(f"record {seq} is not under a checkpoint yet: ask again in a minute")
    if invocation.json:
        invocation.emit(entry)
    elif proof:
        invocation.screen.text(entry.proof)
    else:
        fields = msgspec.structs.asdict(entry.record)
        details = fields.pop("details")
        for name, value in [*fields.items(), *details.items()]:
            if value not in ("", None):
                invocation.screen.line((Style.DIM, f"{name:<14}"), str(value))
        invocation.screen.line((Style.DIM, f"{'log':<14}"), entry.origin)


@audit.command()
@_filters
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--proofs", is_flag=True, help="Each with what proves it: audit verify FILE needs no daemon.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Into this new file, not to the terminal.")
@pass_invocation
def export(invocation: Invocation, /, form: str, proofs: bool, output: Path | None, **filters: Any) -> None:
    """Export audit records, oldest first, as JSONL or CSV."""
    from eleagent.cli.exporting import pieces_of

    if proofs and form == "csv":
        raise BadRequest("--proofs come as JSONL: leave --format csv away")
    pieces = pieces_of(invocation.client, _query(**filters), form="proofs" if proofs else form)
    if output is None:
        for piece in pieces:
            invocation.screen.data(piece.encode())
        return
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123 - by descriptor
        file.writelines(pieces)


@audit.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--key", "keys", metavar="KEY|FILE", multiple=True, help="The public key that you trust (repeatable).")
@click.option(
    "--checkpoint", "held", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
    help="Checkpoints that you hold: from a webhook, a journal, a client's memory (repeatable).",
)  # fmt: skip
@pass_invocation
def verify(invocation: Invocation, path: Path | None, keys: tuple[str, ...], held: tuple[Path, ...]) -> int:
    """Verify the audit log, or an export of it with proofs, by its files and the public key alone.

    PATH is a copy of the ledger folder, or a file from audit export --proofs; without it, it is this host's log. No
    daemon is needed. Exits with 125 and names the first bad record when something was changed. One key that the log
    ever had is enough. Without --key the first one beside the records is believed: that shows damage, but not a forger
    who brought a key of his own. With --checkpoint the log has to begin with what was signed then: that finds a past
    that was written anew, by whoever has the key.
    """
    from eleagent.cli import verdicts
    from eleagent.transparency.held import read_held

    trusted = verdicts.keys_of(keys)
    notes = [note for file in held for note in read_held(file)]
    if path is not None and path.is_file():
        if notes:
            raise BadRequest("--checkpoint is for the whole log: an export says itself what it was signed at")
        holds = verdicts.tell_export(invocation, path, trusted)
    else:
        holds = verdicts.tell_log(invocation, path or Path(default_home(os.getuid()), "ledger"), trusted, notes)
    if not trusted and not invocation.json:
        invocation.screen.note("judged by the key beside the records; give --key to rule out another's")
    return 0 if holds else 125


@audit.command()
@click.option("--reason", required=True, metavar="TEXT", help="Why; the new log's first record has it.")
@pass_invocation
def restart(invocation: Invocation, reason: str) -> None:
    """Begin a new log where the old one can't go on: after damage, or after it was restored.

    The old files stay as they are. The new log's first record names the old one, how far it was signed, what is wrong
    with it and who began the new one; everyone who saw the old one is asked once whether that is right.
    """
    from eleagent.cli.witnessing import trust as take

    head: LogHead = invocation.client.call(AUDIT_RESTART, body=LogRestart(reason))
    take(invocation)
    if invocation.json:
        invocation.emit(head)
    else:
        invocation.screen.line(f"the log goes on as {head.note.splitlines()[0]} from record {head.first_seq}")


@audit.command("rotate-key")
@pass_invocation
def rotate_key(invocation: Invocation) -> None:
    """Sign the audit log with a fresh key from now on.

    The log goes on: a record names the new key, and the old one signs it. Who has any of the log's keys can still
    verify all of it.
    """
    head: LogHead = invocation.client.call(AUDIT_ROTATE_KEY)
    if invocation.json:
        invocation.emit(head)
    else:
        invocation.screen.line((Style.DIM, "key "), head.keys[-1])


@audit.command()
@pass_invocation
def trust(invocation: Invocation) -> None:
    """Take the daemon's audit log as it is now for the right one, and remember it.

    For the first time, or after a new log was begun. Compare the key with what the operator says by another way.
    """
    from eleagent.cli.witnessing import trust as take

    seen = take(invocation)
    if invocation.json:
        invocation.emit(seen)
        return
    invocation.screen.line(f"{seen.origin}, {seen.size} records, root {seen.root}")
    for key in seen.keys:
        invocation.screen.line((Style.DIM, "key "), key)


def _row(record: AuditRecord) -> list[Span | str]:
    return [
        str(record.seq), record.ts[:19], record.phase, record.actor, record.action, _decision(record),
        record.object or record.session or record.details.get("host", ""), record.outcome,
    ]  # fmt: skip


def _decision(record: AuditRecord) -> Span:
    return (Style.PLAIN if record.decision in ("", "allowed") else Style.BAD, record.decision)


def _say(invocation: Invocation, record: AuditRecord) -> None:
    details = " ".join(f"{name}={value}" for name, value in record.details.items())
    rest = " ".join(filter(None, (record.object or record.session, record.outcome, details)))
    invocation.screen.line(
        (Style.DIM, f"{record.seq} {record.ts[:19]} "), f"{record.actor} {record.action} {record.phase} ",
        _decision(record), f" {rest}",
    )  # fmt: skip
