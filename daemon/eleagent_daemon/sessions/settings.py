"""What did the operator set for every session?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import Ceilings
from eleagent_daemon.sessions.keeper import Rules


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`policies` are by name."""

    home: Path
    runtime: str
    default_policy: str
    policies: Mapping[str, Policy]
    timeout_s: float
    grace_s: float
    output_bytes: int
    limits: SessionLimits
    ceilings: Ceilings
    user_day_usd: float
    kept_most: int
    rules: Rules

    def policy_of(self, session: Session) -> Policy:
        """A policy that the operator took away lets nothing pass a tunnel any more."""
        return self.policies.get(session.policy) or Policy(name=session.policy)
