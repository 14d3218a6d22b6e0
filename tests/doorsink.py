"""What does a sink in memory answer when a door asks to let something out?"""

from __future__ import annotations

from dataclasses import dataclass, field

from eleagent.errors import AuditUnavailable
from eleagent.wire.events import EgressModel, EgressTunnel
from eleagent_daemon.domain.doors import Attempt, Ruling, Wall


@dataclass(kw_only=True)
class Admitting:
    """The audit log's part of a sink; `unwritable` plays a log that can't be written."""

    unwritable: bool = False
    admitted: list[Attempt] = field(default_factory=list)
    settled: dict[int, EgressModel | EgressTunnel] = field(default_factory=dict)

    async def admit(self, attempt: Attempt) -> int:
        if self.unwritable:
            raise AuditUnavailable("the disk is full")
        self.admitted.append(attempt)
        return len(self.admitted)

    async def ask(self, wall: Wall) -> Ruling:
        raise AssertionError(f"nobody is to be asked for {wall.subject}")

    async def settle(self, admitted: int, payload: EgressModel | EgressTunnel) -> None:
        assert admitted not in self.settled
        self.settled[admitted] = payload
