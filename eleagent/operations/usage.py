"""Which operations tell what was used?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import limits

USAGE: Final = Operation(
    id="usage", method="GET", path="/v1/usage", permission=Permission.USAGE_READ, audit="usage.read",
    effect=Effect.READ,
    summary="Requests, tokens and money by user, project, agent, model, session or day; members see their own",
    result=limits.UsageReport, query=(("by", str), ("since", str), ("until", str)),
)  # fmt: skip
