"""What did a session say and do, all of it or what somebody looks for?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.client.api import Client
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_GET
from eleagent.wire.sessions import SessionDetail
from eleagent.wire.timeline import Event, Notice
from eleagent.wire.wanted import Wanted


@click.command(cls=Command)
@click.argument("key", default="@")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until the session ends.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="N", help="Begin with the last N events.")
@click.option(
    "--type", "types", multiple=True, metavar="TYPE[,TYPE]", help="Only these: agent.tool_call, tool_call, egress …"
)
@click.option("--grep", "text", metavar="TEXT", help="Only events with it; without capitals it finds them too.")
@click.option("--errors", is_flag=True, help="Only what went wrong: failed tools, refusals, violations, gaps.")
@click.option("-v", "--verbose", is_flag=True, help="Every program that ran, too, and every file.")
@pass_invocation
def logs(
    invocation: Invocation,
    key: str,
    follow: bool,
    tail: int | None,
    types: tuple[str, ...],
    text: str | None,
    errors: bool,
    verbose: bool,
) -> None:
    """Show the timeline of session KEY (the last one, if none is named)."""
    from eleagent.cli.views import choose_view

    wanted = Wanted(text=text or "", types=frozenset(_types(types)), trouble=errors)
    view = choose_view(invocation, key=key, verbose=verbose or bool(wanted.types))
    shown = 0
    for shown, item in enumerate(_items(invocation.client, key, wanted, tail=tail, follow=follow), 1):  # noqa: B007
        view.show(item)
    view.finish()
    if wanted and not shown and not invocation.json:
        invocation.screen.note("no event of it is what you look for")


def _types(named: Iterable[str]) -> Iterator[str]:
    """Whole names of types: `tool_call` is agent.tool_call, `egress` is all of egress. Raises UsageError for others."""
    from eleagent.wire.events import TYPES

    for word in (word for words in named for word in words.split(",") if word):
        found = [one for one in TYPES if word in (one, *one.split("."))]
        if not found:
            groups = sorted({one.partition(".")[0] for one in TYPES})
            raise click.UsageError(f"--type {word!r}: no event is called so; all of one kind are {', '.join(groups)}")
        yield from found


def _items(client: Client, key: str, wanted: Wanted, *, tail: int | None, follow: bool) -> Iterator[Event | Notice]:
    """The daemon finds what is there, so that the rest need not come; what is said later is looked at here."""
    if not (follow and (wanted or tail is not None)):
        if follow:
            yield from client.follow(key)
        else:
            yield from client.stream(SESSION_EVENTS, query=_query(wanted, tail), key=key)
        return
    detail: SessionDetail = client.call(SESSION_GET, key=key)
    session, shown = detail.session, 0
    if wanted:
        for item in client.stream(SESSION_EVENTS, query=_query(wanted, tail), key=session.key):
            shown = item.seq
            yield item
    after = session.last_seq if wanted else max(0, session.last_seq - (tail or 0))
    if session.state.ended and after >= session.last_seq:
        return
    for item in client.follow(session.key, after=after):
        if isinstance(item, Notice) or (item.seq > shown and wanted.fits(item)):
            yield item


def _query(wanted: Wanted, tail: int | None) -> dict[str, object]:
    types = ",".join(sorted(wanted.types))
    return {"tail": tail, "text": wanted.text or None, "types": types or None, "trouble": wanted.trouble or None}
