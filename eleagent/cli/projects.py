"""How are projects made, changed and shared?"""

from __future__ import annotations

import click
import msgspec

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style
from eleagent.errors import BadRequest
from eleagent.operations.projects import PROJECT_CREATE, PROJECT_GET, PROJECT_LIST, PROJECT_MEMBERS, PROJECT_UPDATE
from eleagent.wire.projects import Project, ProjectCreate, ProjectList, ProjectMembers, ProjectUpdate


@click.group(cls=Group)
def project() -> None:
    """Projects: whose members see each other's sessions."""


@project.command("ls")
@pass_invocation
def list_projects(invocation: Invocation) -> None:
    """List the projects that you may see."""
    found: ProjectList = invocation.client.call(PROJECT_LIST)
    if invocation.json:
        invocation.emit(found)
    elif invocation.quiet:
        for one in found.projects:
            invocation.screen.line(one.name)
    else:
        head = ["NAME", "OWNER", "MEMBERS", "AGENTS", "SESSIONS", "STATE", "DESCRIPTION"]
        invocation.screen.table(head, [_row(one) for one in found.projects])


def _row(one: Project) -> list[Span | str]:
    members = [*one.users, *(f"@{group}" for group in one.groups)]
    state: Span = (Style.DIM, "archived") if one.archived else (Style.PLAIN, "active")
    limit = f"at most {one.sessions}" if one.sessions else "any"
    return [one.name, one.owner, ", ".join(members), ", ".join(one.agents) or "any", limit, state, one.description]


@project.command("show")
@click.argument("name")
@pass_invocation
def show_project(invocation: Invocation, name: str) -> None:
    """Show one project."""
    _tell(invocation, invocation.client.call(PROJECT_GET, project=name))


@project.command("create")
@click.argument("name")
@click.option("--description", default="", metavar="TEXT")
@click.option("--agent", "agents", multiple=True, help="Only this agent may work in it. Repeatable.")
@click.option("--sessions", type=click.IntRange(1), help="At most so many alive at a time.")
@pass_invocation
def create_project(
    invocation: Invocation, name: str, description: str, agents: tuple[str, ...], sessions: int | None
) -> None:
    """Make a project; you are its owner and first member."""
    wanted = ProjectCreate(name=name, description=description, agents=list(agents), sessions=sessions)
    _tell(invocation, invocation.client.call(PROJECT_CREATE, body=wanted))


@project.command("edit")
@click.argument("name")
@click.option("--description", metavar="TEXT")
@click.option("--agent", "agents", multiple=True, help="Only these agents from now on; '' for any.")
@click.option("--sessions", type=click.IntRange(0), help="At most so many alive at a time; 0 for any number.")
@click.option("--restore", is_flag=True, help="Take it out of the archive.")
@pass_invocation
def edit_project(
    invocation: Invocation,
    name: str,
    description: str | None,
    agents: tuple[str, ...],
    sessions: int | None,
    restore: bool,
) -> None:
    """Change a project."""
    named = [agent for agent in agents if agent] if agents else None
    wanted = ProjectUpdate(
        description=description, agents=named, sessions=sessions, archived=False if restore else None
    )
    if wanted == ProjectUpdate():
        raise BadRequest("nothing to change: name --description, --agent, --sessions or --restore")
    _tell(invocation, invocation.client.call(PROJECT_UPDATE, project=name, body=wanted))


@project.command("archive")
@click.argument("name")
@pass_invocation
def archive_project(invocation: Invocation, name: str) -> None:
    """Let nothing new start in a project; what is there stays."""
    _tell(invocation, invocation.client.call(PROJECT_UPDATE, project=name, body=ProjectUpdate(archived=True)))


@project.group("member", cls=Group)
def member() -> None:
    """Who sees a project's sessions: users, and groups of the server as @GROUP."""


@member.command("add")
@click.argument("name")
@click.argument("members", nargs=-1, required=True, metavar="USER|@GROUP…")
@pass_invocation
def add_members(invocation: Invocation, name: str, members: tuple[str, ...]) -> None:
    """Let users and groups in."""
    users, groups = _sorted(members)
    wanted = ProjectMembers(add_users=users, add_groups=groups)
    _tell(invocation, invocation.client.call(PROJECT_MEMBERS, project=name, body=wanted))


@member.command("rm")
@click.argument("name")
@click.argument("members", nargs=-1, required=True, metavar="USER|@GROUP…")
@pass_invocation
def remove_members(invocation: Invocation, name: str, members: tuple[str, ...]) -> None:
    """Let users and groups out."""
    users, groups = _sorted(members)
    wanted = ProjectMembers(remove_users=users, remove_groups=groups)
    _tell(invocation, invocation.client.call(PROJECT_MEMBERS, project=name, body=wanted))


def _sorted(members: tuple[str, ...]) -> tuple[list[str], list[str]]:
    groups = [one[1:] for one in members if one.startswith("@")]
    return [one for one in members if not one.startswith("@")], groups


def _tell(invocation: Invocation, found: Project) -> None:
    if invocation.json:
        invocation.emit(found)
        return
    if invocation.quiet:
        invocation.screen.line(found.name)
        return
    for name, value in msgspec.structs.asdict(found).items():
        text = ", ".join(value) if isinstance(value, list) else str("any" if value is None else value)
        invocation.screen.line((Style.DIM, f"{name:<12}"), text)
