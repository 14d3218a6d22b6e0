"""Which operations are there on policies?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import policies

POLICY_LIST: Final = Operation(
    id="policy_list", method="GET", path="/v1/policies", permission=Permission.SYSTEM_READ, audit="policy.list",
    effect=Effect.READ,
    summary="What the policies in force let out of a sandbox, and what holds under all of them",
    result=policies.PolicyList,
)  # fmt: skip
