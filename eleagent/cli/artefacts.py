"""How does one look at what a session left, and take it along?"""

from __future__ import annotations

from pathlib import Path

import click

from eleagent.cli.amounts import human_size
from eleagent.cli.copying import copy
from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.outdir import OutDir
from eleagent.cli.screen import Style
from eleagent.errors import BadRequest, NotFound
from eleagent.operations.artefacts import ARTEFACT_GET, ARTEFACT_LIST
from eleagent.wire.sessions import Artefact, ArtefactList


@click.group(cls=Group)
def artefact() -> None:
    """Artefacts: the files that sessions left in /artefacts."""


@artefact.command("ls")
@click.argument("key", default="@")
@pass_invocation
def list_(invocation: Invocation, key: str) -> None:
    """List a session's artefacts with their digests."""
    listed: ArtefactList = invocation.client.call(ARTEFACT_LIST, key=key)
    screen = invocation.screen
    if invocation.json:
        invocation.emit(listed)
        return
    if invocation.quiet:
        for item in listed.artefacts:
            screen.line(item.path)
    elif listed.artefacts:
        rows = [[item.path, human_size(item.size_bytes), item.sha256] for item in listed.artefacts]
        screen.table(["PATH", "SIZE", "SHA256"], rows)
    for name in listed.skipped:
        screen.note(f"not kept: {name}", Style.WARN)
    if not listed.complete:
        screen.note("the session is not over: this is what was collected so far")


@artefact.command()
@click.argument("key")
@click.argument("path")
@pass_invocation
def cat(invocation: Invocation, key: str, path: str) -> None:
    """Write one artefact to stdout."""
    for piece in invocation.client.download(ARTEFACT_GET, query={"path": path}, key=key):
        invocation.screen.data(piece)


@click.command(cls=Command)
@click.argument("source", metavar="KEY:PATH")
@click.argument("dest", type=click.Path(path_type=Path))
@pass_invocation
def cp(invocation: Invocation, source: str, dest: Path) -> int:
    """Copy a file, or a folder (KEY:. is all), out of a session's artefacts.

    Files that differ and hidden ones need --yes.
    """
    key, colon, path = source.partition(":")
    if not colon or not key:
        raise BadRequest(f"{source!r} is not of the form KEY:PATH")
    path = path.removeprefix("/artefacts").strip("/").removeprefix("./")
    listed: ArtefactList = invocation.client.call(ARTEFACT_LIST, key=key)
    folder, targets = _targets(path, listed.artefacts, dest)
    if not targets:
        what = f"no artefact {path!r} (see: eleagent artefact ls {key})" if listed.artefacts else "no artefacts"
        raise NotFound(f"session {key} has {what}")
    with OutDir.create(folder) as opened:
        code = copy(invocation, key, targets, opened)
    if not (code or invocation.quiet):
        invocation.screen.note(f"{len(targets)} {'file' if len(targets) == 1 else 'files'} → {dest}")
    return code


def _targets(path: str, artefacts: list[Artefact], dest: Path) -> tuple[Path, list[tuple[str, Artefact]]]:
    """The folder to write to, and what goes there by which name: the artefact `path`, or all below it."""
    for artefact in artefacts:
        if artefact.path == path:
            target = dest / path.rpartition("/")[2] if dest.is_dir() else dest
            return target.parent, [(target.name, artefact)]
    prefix = "" if path in ("", ".") else f"{path}/"
    return dest, [(item.path.removeprefix(prefix), item) for item in artefacts if item.path.startswith(prefix)]
