"""How does one look at what a session left, and take it along?"""

from __future__ import annotations

from pathlib import Path

import click

from eleagent.cli.cards import human_size
from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.outdir import OutDir, fetch
from eleagent.cli.screen import Style
from eleagent.errors import BadRequest, NotFound
from eleagent.operations import ARTEFACT_GET, ARTEFACT_LIST
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
def cp(invocation: Invocation, source: str, dest: Path) -> None:
    """Copy a file, or a folder (KEY:. is all), out of a session's artefacts."""
    key, colon, path = source.partition(":")
    if not colon or not key:
        raise BadRequest(f"{source!r} is not of the form KEY:PATH")
    path = path.removeprefix("/artefacts").strip("/").removeprefix("./")
    listed: ArtefactList = invocation.client.call(ARTEFACT_LIST, key=key)
    copied = _copy_file(invocation, key, path, listed, dest) or _copy_folder(invocation, key, path, listed, dest)
    if not copied:
        what = f"no artefact {path!r} (see: eleagent artefact ls {key})" if listed.artefacts else "no artefacts"
        raise NotFound(f"session {key} has {what}")
    if not invocation.quiet:
        invocation.screen.note(f"{copied} {'file' if copied == 1 else 'files'} → {dest}")


def _copy_file(invocation: Invocation, key: str, path: str, listed: ArtefactList, dest: Path) -> int:
    found: Artefact | None = next((item for item in listed.artefacts if item.path == path), None)
    if found is None:
        return 0
    target = dest / path.rpartition("/")[2] if dest.is_dir() else dest
    with OutDir.create(target.parent) as folder:
        fetch(invocation.client, key, found, folder, target.name)
    return 1


def _copy_folder(invocation: Invocation, key: str, path: str, listed: ArtefactList, dest: Path) -> int:
    prefix = "" if path in ("", ".") else f"{path}/"
    found = [item for item in listed.artefacts if item.path.startswith(prefix)]
    if found:
        with OutDir.create(dest) as folder:
            for item in found:
                fetch(invocation.client, key, item, folder, item.path.removeprefix(prefix))
    return len(found)
