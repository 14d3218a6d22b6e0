"""Which policies are in force, and what holds under each of them?"""

from __future__ import annotations

import msgspec

from eleagent.wire.limits import SessionLimits


class PolicyApprovals(msgspec.Struct, frozen=True, kw_only=True):
    """Which walls ask a person instead of refusing. A question is denied after `expires_s` (0: never); who runs into a
    wall is kept waiting for `hold_s`.
    """

    hosts: bool
    credentials: bool
    expires_s: float
    hold_s: float


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`tunnel` are the rules of hosts (`HOST:PORT`, `.SUFFIX:PORT`) that may be connected to, `server_tools` the tools
    that the provider itself runs and that pass the model door; whatever else reaches out there is refused.
    """

    name: str
    built_in: bool
    tunnel: list[str]
    model: bool
    server_tools: list[str]
    approvals: PolicyApprovals


class PolicyTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds under every policy for a session that asks for no other. `mode` says whether a resource limit that the
    host can't enforce refuses the start (`strict`) or is named (`best-effort`). Money of a day: 0 is no limit. An ended
    session is deleted after `keep_days` (0: never), a record of the audit log after `audit_keep_days`.
    """

    mode: str
    timeout_s: float
    limits: SessionLimits
    user_day_usd: float
    key_day_usd: float
    project_day_usd: float
    keep_days: float
    audit_keep_days: int


class PolicyList(msgspec.Struct, frozen=True):
    """`default` is the name of the one for a session that asks for no other."""

    policies: list[Policy]
    default: str
    terms: PolicyTerms
