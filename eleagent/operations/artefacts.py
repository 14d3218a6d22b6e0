"""Which operations are there on artefacts?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Answer, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import sessions

ARTEFACT_LIST: Final = Operation(
    id="artefact_list", method="GET", path="/v1/sessions/{key}/artefacts", permission=Permission.ARTEFACT_READ,
    audit="artefact.list", effect=Effect.READ, summary="What the session left in /artefacts",
    result=sessions.ArtefactList,
)  # fmt: skip
ARTEFACT_GET: Final = Operation(
    id="artefact_get", method="GET", path="/v1/sessions/{key}/artefact", permission=Permission.ARTEFACT_READ,
    audit="artefact.read", effect=Effect.CONTENT, summary="The bytes of one artefact", answer=Answer.BYTES,
    query=(("path", str),), recorded=("path",),
)  # fmt: skip
