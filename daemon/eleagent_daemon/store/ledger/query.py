"""What can be asked of the audit log, and what is that in the index's SQL?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from eleagent.errors import BadRequest


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; what is None does not matter. A trailing or leading * stands for anything. The words of `text`
    have to be there as they stand in a row; the last may be longer where a * follows it. `own` are the only names whose
    records the caller may see.
    """

    own: str | None = None
    since: str | None = None
    until: str | None = None
    actor: str | None = None
    action: str | None = None
    object: str | None = None
    session: str | None = None
    decision: str | None = None
    host: str | None = None
    path: str | None = None
    text: str | None = None


def conditions(query: Query) -> Iterator[tuple[str, list[Any]]]:
    """SQL with the values that belong in it; the columns are ours, the values the caller's."""
    named = "(SELECT id FROM texts WHERE text = ?)"
    if query.own is not None:
        yield f"(actor = {named} OR behalf = {named})", [query.own, query.own]
    if query.since is not None:
        yield "ts >= ?", [_asked_micros(query.since)]
    if query.until is not None:
        yield "ts < ?", [_asked_micros(query.until)]
    for column in ("actor", "action", "object", "session", "decision", "host", "path"):
        value = getattr(query, column)
        if value is None:
            continue
        if value.startswith("*") or value.endswith("*"):
            inner = value.strip("*").replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
            pattern = ("*" if value.startswith("*") else "") + inner + ("*" if value.endswith("*") else "")
            yield f"{column} IN (SELECT id FROM texts WHERE text GLOB ?)", [pattern]  # noqa: S608 - the columns above
        else:
            yield f"{column} = {named}", [value]
    if query.text is not None:
        if not any(character.isalnum() for character in query.text):
            raise BadRequest(f"text {query.text!r} has no word to look for")
        quoted, star = query.text.rstrip("*").replace('"', '""'), " *" if query.text.endswith("*") else ""
        yield "seq IN (SELECT rowid FROM words WHERE words MATCH ?)", [f'"{quoted}"{star}']


def micros(ts: str) -> int:
    """Since 1970; 0 for what is no time."""
    try:
        when = datetime.fromisoformat(ts)
    except ValueError:
        return 0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1_000_000)


def _asked_micros(ts: str) -> int:
    try:
        datetime.fromisoformat(ts)
    except ValueError:
        raise BadRequest(f"{ts!r} is no time: write it as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return micros(ts)
