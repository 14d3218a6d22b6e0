"""Which operations are there on what sessions reach for on the network?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import egress

EGRESS_LIST: Final = Operation(
    id="egress_list", method="GET", path="/v1/egress", permission=Permission.EGRESS_READ, audit="egress.list",
    effect=Effect.CONTENT,
    summary="Decisions of all sessions between two ids, or the newest with newest=true; oldest first",
    result=egress.EgressList,
    query=(
        ("after", int), ("before", int), ("limit", int), ("newest", bool), ("session", str), ("text", str),
        ("refused", bool),
    ),
)  # fmt: skip
EGRESS_TOP: Final = Operation(
    id="egress_top", method="GET", path="/v1/egress/top", permission=Permission.EGRESS_READ, audit="egress.top",
    effect=Effect.CONTENT, summary="The hosts that sessions asked for most", result=egress.EgressTop,
    query=(("since", str), ("limit", int), ("session", str)),
)  # fmt: skip
