"""How are a session's artefacts copied into a folder, and what is said of those that are not?"""

from __future__ import annotations

from collections.abc import Iterable

from eleagent.cli.cards import some
from eleagent.cli.invocation import Invocation
from eleagent.cli.outdir import Differs, OutDir
from eleagent.cli.screen import Style, To
from eleagent.errors import Conflict, EleAgentError, Refused
from eleagent.operations.artefacts import ARTEFACT_GET
from eleagent.wire.sessions import Artefact

_SHOWN = 20


def copy(invocation: Invocation, key: str, targets: Iterable[tuple[str, Artefact]], folder: OutDir) -> int:
    """Copy each artefact to its name below `folder`; returns the exit code of the first that was not copied, or 0.

    Without --yes no other file is replaced, and nothing hidden is taken: tools of the caller's would act on it (hooks,
    keys, settings). One that can't be copied stops no other.
    """
    code = 0
    differing: list[str] = []
    hidden: list[str] = []
    for name, artefact in targets:
        if not invocation.yes and _is_hidden(artefact.path):
            hidden.append(artefact.path)
            code = code or Refused.exit_code
            continue
        pieces = invocation.client.download(ARTEFACT_GET, query={"path": artefact.path}, key=key)
        try:
            folder.write(name, pieces, sha256=artefact.sha256, replace=invocation.yes)
        except Differs:
            differing.append(name)
            code = code or Conflict.exit_code
        except EleAgentError as error:
            complain(invocation, f"not copied: {error.message}")
            code = code or error.exit_code
    if differing:
        complain(invocation, f"not copied, another file is there (--yes replaces it): {some(differing, _SHOWN)}")
    if hidden:
        complain(invocation, f"not copied, tools may act on hidden files (--yes takes them): {some(hidden, _SHOWN)}")
    return code


def complain(invocation: Invocation, text: str) -> None:
    invocation.screen.line((Style.BAD, "eleagent:"), f" {text}", to=To.ERR)


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))
