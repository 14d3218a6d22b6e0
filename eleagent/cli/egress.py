"""What did sessions reach for on the network, and what was decided?"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import click

from eleagent.cli.amounts import human_size
from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.cli.tailing import PAGE
from eleagent.cli.tailing import tail as show_tail
from eleagent.operations.egress import EGRESS_LIST, EGRESS_TOP
from eleagent.wire.egress import EgressDecision, EgressList, EgressTop


@click.group(cls=Group)
def egress() -> None:
    """Egress: each attempt of a session to reach the network, the decision, and its rule."""


@egress.command("ls")
@click.argument("key", default="")
@click.option("--text", metavar="WORDS", help="In host, rule, reason or path.")
@click.option("--refused", is_flag=True, help="Refused ones only.")
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Those that lead up to this one.")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=200, show_default=True, help="At most so many.")
@pass_invocation
def list_(invocation: Invocation, key: str, text: str | None, refused: bool, before: int | None, limit: int) -> None:
    """List the newest decisions, of session KEY or of all, oldest first."""
    query = {
        "session": key or None, "text": text, "refused": refused or None, "before": before, "limit": limit,
        "newest": True,
    }  # fmt: skip
    found: EgressList = invocation.client.call(EGRESS_LIST, query=query)
    if invocation.json:
        invocation.emit(found)
    elif found.decisions:
        head = ["TIME", "SESSION", "DECISION", "HOST", "ASKED", "RULE", "UP", "DOWN"]
        invocation.screen.table(head, [_row(one) for one in found.decisions])
        if found.next is not None:
            invocation.screen.note(f"more: eleagent egress ls --before {found.next}")
    else:
        invocation.screen.note("nothing was asked for")


@egress.command()
@click.argument("key", default="")
@click.option("--refused", is_flag=True, help="Refused ones only.")
@click.option("-f", "--follow", is_flag=True, help="Go on as they come.")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=20, show_default=True, help="Begin so far back.")
@pass_invocation
def tail(invocation: Invocation, key: str, refused: bool, follow: bool, limit: int) -> None:
    """Show the newest decisions, one a line, and with -f those that come."""
    query: dict[str, Any] = {"session": key or None, "refused": refused or None}
    show_tail(
        invocation,
        EGRESS_LIST,
        query,
        limit=limit,
        follow=follow,
        records=lambda found: cast(EgressList, found).decisions,
        number=lambda one: one.id,
        say=partial(_say, invocation),
    )


@egress.command()
@click.argument("key", default="")
@click.option("-n", "--limit", type=click.IntRange(1, PAGE), default=20, show_default=True, help="At most so many.")
@pass_invocation
def top(invocation: Invocation, key: str, limit: int) -> None:
    """Show the hosts that were asked for most, by session KEY or by all."""
    found: EgressTop = invocation.client.call(EGRESS_TOP, query={"session": key or None, "limit": limit})
    if invocation.json:
        invocation.emit(found)
    elif found.hosts:
        rows = [
            [one.host, str(one.allowed), str(one.refused), str(one.sessions), human_size(one.bytes_up),
             human_size(one.bytes_down), one.last[:19]]
            for one in found.hosts
        ]  # fmt: skip
        invocation.screen.table(["HOST", "ALLOWED", "REFUSED", "SESSIONS", "UP", "DOWN", "LAST"], rows)
    else:
        invocation.screen.note("nothing was asked for")


def _decision(one: EgressDecision) -> Span:
    times = f" x {one.count}" if one.count > 1 else ""
    return (Style.GOOD, "allowed") if one.allowed else (Style.BAD, f"refused{times}")


def _row(one: EgressDecision) -> list[Span | str]:
    return [
        one.ts[:19], one.session, _decision(one), one.host, one.asked, one.rule, human_size(one.bytes_up),
        human_size(one.bytes_down),
    ]  # fmt: skip


def _say(invocation: Invocation, one: EgressDecision) -> None:
    what = f" {one.asked}" if one.asked else ""
    why = f": {one.reason}" if one.reason else ""
    text = f" {one.host}{what} (rule {one.rule}){why}"
    invocation.screen.line((Style.DIM, f"{one.ts[:19]} {one.session} "), _decision(one), text)
