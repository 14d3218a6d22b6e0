"""How are agents and their images listed, installed and built?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from eleagent.cli.amounts import human_size
from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.obtain import obtain
from eleagent.cli.screen import Span, Style
from eleagent.errors import EleAgentError
from eleagent.operations.agents import AGENT_INSTALL, AGENT_LIST, AGENT_LOCK, IMAGE_BUILD, IMAGE_LIST
from eleagent.wire.agents import Agent, AgentList, AgentLock, BuildStep, Image, ImageBuild, ImageList


@click.group(cls=Group)
def agent() -> None:
    """Agents: what can be run, and what each still needs."""


@agent.command("ls")
@pass_invocation
def list_agents(invocation: Invocation) -> None:
    """List agents and what each still needs."""
    found: AgentList = invocation.client.call(AGENT_LIST)
    if invocation.json:
        invocation.emit(found)
    elif invocation.quiet:
        for item in found.agents:
            invocation.screen.line(item.name)
    else:
        invocation.screen.table(
            ["NAME", "ADAPTER", "VERSION", "IMAGE", "READY"], [_agent_row(item) for item in found.agents]
        )


def _agent_row(item: Agent) -> list[Span | str]:
    return [
        item.name,
        item.adapter,
        item.version or "",
        item.image,
        (Style.WARN, item.needs) if item.needs else (Style.GOOD, "yes"),
    ]


@agent.command()
@click.argument("name")
@click.option(
    "--from", "source", type=click.Path(path_type=Path), metavar="FILE", help="This binary, instead of a package."
)
@pass_invocation
def install(invocation: Invocation, name: str, source: Path | None) -> None:
    """Install an agent's binary, of exactly the version and digest that this release names."""
    installed, lock = _install(invocation, name, source)
    if invocation.json:
        invocation.emit(installed)
    elif not invocation.quiet:
        invocation.screen.line(_installed(lock))
        if installed.needs:
            invocation.screen.line((Style.WARN, f"next: {installed.needs}"))


def _install(invocation: Invocation, name: str, source: Path | None = None) -> tuple[Agent, AgentLock]:
    lock: AgentLock = invocation.client.call(AGENT_LOCK, name=name)
    with TemporaryDirectory(prefix="eleagent-") as scratch:
        found = obtain(
            lock,
            source=source,
            scratch=Path(scratch),
            say=lambda text: None if invocation.quiet else invocation.screen.note(text),
        )
        with found.open("rb") as file:
            installed: Agent = invocation.client.upload(AGENT_INSTALL, file, size_bytes=found.stat().st_size, name=name)
    return installed, lock


def _installed(lock: AgentLock) -> str:
    return f"{lock.agent} {lock.version} installed (sha256 {lock.sha256})"


@click.group(cls=Group)
def image() -> None:
    """Images: what sandboxes are made from."""


@image.command("ls")
@pass_invocation
def list_images(invocation: Invocation) -> None:
    """List EleAgent's images on the engine."""
    found: ImageList = invocation.client.call(IMAGE_LIST)
    if invocation.json:
        invocation.emit(found)
        return
    rows = [[item.reference, item.id, human_size(item.size_bytes), item.created] for item in found.images]
    invocation.screen.table(["REFERENCE", "ID", "SIZE", "CREATED"], rows)


@image.command()
@click.argument("name", metavar="AGENT")
@pass_invocation
def build(invocation: Invocation, name: str) -> None:
    """Build an agent's image, and install the agent's binary before where it is missing."""
    agents: AgentList = invocation.client.call(AGENT_LIST)
    if any(item.name == name and not item.installed for item in agents.agents):
        _, lock = _install(invocation, name)
        if not invocation.quiet:
            invocation.screen.note(_installed(lock))
    built: Image | None = None
    step: BuildStep
    for step in invocation.client.stream(IMAGE_BUILD, body=ImageBuild(agent=name)):
        if step.error is not None:
            raise EleAgentError(f"the image of {name} was not built: {step.error}")
        if invocation.json:
            invocation.emit(step)
        elif step.text and not invocation.quiet:
            invocation.screen.note(step.text.rstrip("\n"))
        built = step.image or built
    if built is None:
        raise EleAgentError(
            f"the image of {name} was not built: the daemon ended without saying why (see: eleagent doctor)"
        )
    if not invocation.json:
        invocation.screen.line(
            built.id if invocation.quiet else f"{built.reference} {built.id} ({human_size(built.size_bytes)})"
        )
