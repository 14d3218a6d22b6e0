"""What does the operation on policies do?"""

from __future__ import annotations

from collections.abc import Mapping

from eleagent.operations.policies import POLICY_LIST
from eleagent.wire import policies as wire
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.domain.policy import BUILT_IN, Policy


class PolicyHandlers:
    """`policies` are those in force, by name."""

    def __init__(self, *, policies: Mapping[str, Policy], default: str, terms: wire.PolicyTerms) -> None:
        self._policies = policies
        self._default = default
        self._terms = terms

    def table(self) -> Handlers:
        return {POLICY_LIST: self.list_}

    async def list_(self, call: Call) -> wire.PolicyList:
        return wire.PolicyList([_shown(one) for one in self._policies.values()], self._default, self._terms)


def _shown(policy: Policy) -> wire.Policy:
    asks = policy.approvals
    return wire.Policy(
        name=policy.name,
        built_in=policy == BUILT_IN.get(policy.name),
        tunnel=[str(rule) for rule in policy.tunnel],
        model=policy.model,
        server_tools=sorted(policy.server_tools),
        approvals=wire.PolicyApprovals(
            hosts=asks.hosts, credentials=asks.credentials, expires_s=asks.expires_s, hold_s=asks.hold_s
        ),
    )
