"""What was used, by whom, and what did it cost?"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import click
import msgspec

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.errors import BadRequest
from eleagent.operations.usage import USAGE
from eleagent.wire.limits import UsageBy, UsageReport, UsageRow


@click.command(cls=Command)
@click.option("--by", type=click.Choice([one.value for one in UsageBy]), default=UsageBy.USER.value, show_default=True)
@click.option("--since", metavar="DAY", help="2026-01-31, or 7d for the last seven days. Else this month.")
@click.option("--until", metavar="DAY", help="The last day, in UTC. Else today.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, with a head.")
@pass_invocation
def usage(invocation: Invocation, by: str, since: str | None, until: str | None, as_csv: bool) -> None:
    """What sessions used of models, counted by the host at list prices; the dearest first."""
    query = {"by": by, "since": _day(since), "until": _day(until)}
    report: UsageReport = invocation.client.call(USAGE, query=query)
    if invocation.json:
        invocation.emit(report)
    elif as_csv:
        invocation.screen.text(_csv(report))
    else:
        _show(invocation, report)


def _show(invocation: Invocation, report: UsageReport) -> None:
    screen = invocation.screen
    if not report.rows:
        screen.note(f"nothing was used from {report.since} to {report.until}")
        return
    head = [report.by.upper(), "SESSIONS", "REQUESTS", "INPUT", "OUTPUT", "FROM CACHE", "TO CACHE", "USD"]
    total = msgspec.structs.replace(report.total, name="all")
    screen.table(head, [_row(row) for row in [*report.rows, *([total] if len(report.rows) > 1 else [])]])
    screen.note(f"{report.since} to {report.until} (UTC), at list prices: {report.prices}")
    if report.total.unpriced_tokens:
        screen.note(f"{report.total.unpriced_tokens:,} tokens are of models without a known price", Style.WARN)
    if report.total.estimated:
        screen.note(f"{report.total.estimated} requests were broken off: what they used is estimated", Style.WARN)


def _row(row: UsageRow) -> list[Span | str]:
    counts = (row.sessions, row.requests, row.input_tokens, row.output_tokens, row.cache_read_tokens)
    money = f"{row.cost_usd:,.2f}" + ("+" if row.unpriced_tokens else "")
    return [row.name or "-", *(f"{count:,}" for count in counts), f"{row.cache_write_tokens:,}", money]


def _csv(report: UsageReport) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([report.by, *UsageRow.__struct_fields__[1:]])
    writer.writerows([_harmless(row.name), *msgspec.structs.astuple(row)[1:]] for row in report.rows)
    return text.getvalue()


def _harmless(name: str) -> str:
    """A spreadsheet would take such a name for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    if match := re.fullmatch(r"(\d{1,4})d", text):
        return (datetime.now(UTC).date() - timedelta(days=int(match[1]) - 1)).isoformat()
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise BadRequest(f"{text!r} is no day: write 2026-01-31, or 7d")
    return text
