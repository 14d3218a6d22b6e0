"""How is a session that was just started seen to its end?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eleagent.cli.amounts import human_size
from eleagent.cli.cards import some
from eleagent.cli.follow import Ending, Follower, answers
from eleagent.cli.invocation import Invocation
from eleagent.cli.limits import told
from eleagent.cli.screen import Style, To
from eleagent.cli.states import state_span
from eleagent.cli.views import choose_view
from eleagent.cli.witnessing import bear_witness
from eleagent.operations.artefacts import ARTEFACT_LIST
from eleagent.wire.sessions import ArtefactList, Session, State

if TYPE_CHECKING:
    from eleagent.cli.outdir import OutDir


def attend(invocation: Invocation, session: Session, folder: OutDir | None) -> int:
    """Follow it to its end, copy its artefacts into `folder`, and say how it ended. Returns the exit code."""
    screen = invocation.screen
    if not (invocation.json or invocation.quiet):
        screen.note(f"session {session.key}" + (f"   limits: {limits}" if (limits := told(session)) else ""))
    bear_witness(invocation, "run", 0)  # while its sandbox is made
    if not (invocation.json or invocation.quiet):
        screen.status(f"starting {session.key}")
    view = choose_view(invocation, key=session.key, asked=answers(invocation))
    ending = Follower(invocation=invocation, key=session.key, view=view).follow()
    listed = None
    if folder or not (invocation.json or invocation.quiet):
        listed = invocation.client.call(ARTEFACT_LIST, key=session.key)
    if folder and listed:
        ending.exit_code = _copy(invocation, ending, listed, folder) or ending.exit_code
    if invocation.json:
        invocation.emit(ending.document(invocation.client))
    elif invocation.quiet or listed is None:
        if not ending.by_itself and ending.state is not State.SUCCEEDED:
            screen.line(
                (Style.BAD, "eleagent:"), f" {session.key} {ending.state}: {ending.detail or ending.reason}", to=To.ERR
            )
    else:
        _summary(invocation, ending, listed, folder)
    return ending.exit_code


def _copy(invocation: Invocation, ending: Ending, listed: ArtefactList, folder: OutDir) -> int:
    """Copy the artefacts; returns the exit code of the first failure where the session itself had none."""
    from eleagent.cli.copying import complain, copy

    code = copy(invocation, ending.key, [(artefact.path, artefact) for artefact in listed.artefacts], folder)
    if code:
        complain(invocation, f"the session still has it: eleagent cp {ending.key}:. DEST")
    return 0 if ending.exit_code else code


def _summary(invocation: Invocation, ending: Ending, listed: ArtefactList, folder: OutDir | None) -> None:
    from eleagent.cli.report import tokens

    screen = invocation.screen
    reason = f" ({ending.reason})" if ending.reason != ending.state else ""
    how = f"{reason} · exit {ending.exit_code}" + (f" · {ending.detail}" if ending.detail else "")
    if not screen.is_terminal(To.ERR):
        screen.note(f"session {ending.key} {ending.state}{how}")
        return
    screen.line("", to=To.ERR)
    screen.line(state_span(ending.state), how, to=To.ERR)
    if listed.artefacts:
        names = some([f"{artefact.path} ({human_size(artefact.size_bytes)})" for artefact in listed.artefacts])
        where = f" → {folder.path}" if folder else f"   (eleagent cp {ending.key}:. DEST)"
        screen.line((Style.DIM, "  artefacts  "), names, (Style.DIM, where), to=To.ERR)
    if used := tokens(ending.usage):
        screen.line((Style.DIM, "  tokens     "), used, to=To.ERR)
    screen.line((Style.DIM, "  proof      "), f"eleagent session show {ending.key}", to=To.ERR)
