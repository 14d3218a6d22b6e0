"""How are API keys made, listed and ended?"""

from __future__ import annotations

import click

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.operations.keys import KEY_CREATE, KEY_LIST, KEY_REVOKE
from eleagent.roles import KEY_GROUPS
from eleagent.wire.keys import ApiKey, ApiKeyCreate, ApiKeyList, ApiKeyMade


@click.group(cls=Group)
def key() -> None:
    """API keys, for machines and scripts."""


@key.command("create")
@click.argument("note")
@click.option("--group", type=click.Choice(list(KEY_GROUPS)), help="What it may do, ready made.")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="resource:action, or resource:action@any.")
@click.option("--days", type=click.IntRange(1, 365), default=90, show_default=True, help="Until it expires.")
@click.option("--project", "projects", multiple=True, help="Only in this project.")
@click.option("--agent", "agents", multiple=True, help="Only this agent.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from there.")
@click.option("--sessions", type=click.IntRange(1), help="At most so many alive at a time.")
@click.option("--day-usd", type=float, metavar="USD", help="At most so much a day for all of its sessions.")
@pass_invocation
def create_key(
    invocation: Invocation,
    note: str,
    group: str | None,
    scopes: tuple[str, ...],
    days: int,
    projects: tuple[str, ...],
    agents: tuple[str, ...],
    networks: tuple[str, ...],
    sessions: int | None,
    day_usd: float | None,
) -> None:
    """Make a key; NOTE says what it is for. The key itself is the one line on standard output, shown this once."""
    wanted = ApiKeyCreate(
        note=note,
        group=group,
        scopes=list(scopes),
        days=days,
        projects=list(projects),
        agents=list(agents),
        networks=list(networks),
        sessions=sessions,
        day_usd=day_usd,
    )
    made: ApiKeyMade = invocation.client.call(KEY_CREATE, body=wanted)
    if invocation.json:
        invocation.emit(made)
    else:
        invocation.screen.note(
            f"key {made.key.id} of {made.key.user}, until {made.key.expires}; keep it, it is not shown again"
        )
        invocation.screen.line(made.secret)


@key.command("ls")
@pass_invocation
def list_keys(invocation: Invocation) -> None:
    """List the keys that you may see."""
    found: ApiKeyList = invocation.client.call(KEY_LIST)
    if invocation.json:
        invocation.emit(found)
    else:
        head = ["ID", "USER", "MAY", "BOUND TO", "EXPIRES", "USED", "NOTE"]
        invocation.screen.table(head, [_row(one) for one in found.keys])


def _row(one: ApiKey) -> list[str]:
    bound = [*one.projects, *one.agents, *one.networks]
    bound += [f"{one.sessions} sessions"] if one.sessions else []
    bound += [f"{one.day_usd:g} USD a day"] if one.day_usd else []
    may = one.group or ", ".join(one.scopes)
    return [one.id, one.user, may, ", ".join(bound) or "-", one.expires[:10], one.used or "never", one.note]


@key.command("revoke")
@click.argument("identifier", metavar="ID")
@pass_invocation
def revoke_key(invocation: Invocation, identifier: str) -> None:
    """End a key; what it is doing ends within a second."""
    ended: ApiKey = invocation.client.call(KEY_REVOKE, api_key=identifier)
    if invocation.json:
        invocation.emit(ended)
    else:
        invocation.screen.line(f"key {ended.id} ({ended.note}) has ended")
