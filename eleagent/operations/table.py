"""Which operations are there? The one table behind the router, the OpenAPI document and the authorisation tests."""

from __future__ import annotations

from typing import Final

from eleagent.operations import (
    agents,
    approvals,
    artefacts,
    audit,
    egress,
    keys,
    logins,
    organization,
    policies,
    projects,
    sessions,
    system,
    usage,
    users,
)
from eleagent.operations.operation import Operation

OPERATIONS: Final[tuple[Operation, ...]] = tuple(
    value
    for noun in (
        system,
        logins,
        users,
        keys,
        projects,
        organization,
        audit,
        sessions,
        approvals,
        artefacts,
        egress,
        policies,
        agents,
        usage,
    )
    for value in vars(noun).values()
    if isinstance(value, Operation)
)
BY_ID: Final = {operation.id: operation for operation in OPERATIONS}
