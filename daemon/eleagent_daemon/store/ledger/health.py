"""Can the audit log be written, and what is said where it can't?"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from eleagent.errors import AuditUnavailable, TamperFound
from eleagent_daemon.store.timeline import now

log = logging.getLogger(__name__)


@dataclass
class Health:
    """`damage`: it does not hold, and takes no record any more. `failure`: the disk refuses, for now. So many records
    were `refused` meanwhile.
    """

    damage: str = ""
    failure: str = ""
    failed_since: str = ""
    refused: int = 0

    def takes(self, *, take_away: bool) -> bool:
        """Whether a record is tried at all."""
        return not self.damage and (take_away or not self.failure)

    def condemn(self, damage: str) -> None:
        log.error("the audit log does not hold: %s", damage)
        self.damage = damage

    def fail(self, error: Exception) -> None:
        if isinstance(error, TamperFound):
            self.condemn(error.message)
        elif not self.failure:
            self.failure = getattr(error, "strerror", None) or str(error)
            self.failed_since = now()
            log.error("the audit log can't be written, so work is refused: %s", self.failure)

    def refuse(self, count: int, *, why: str = "") -> AuditUnavailable:
        """What is raised where `count` records were not written."""
        self.refused += count
        return self.unavailable(why)

    def unavailable(self, why: str = "") -> AuditUnavailable:
        if self.damage:
            advice = "keep the files, look with 'eleagent audit verify', go on with 'eleagent audit restart'"
            return AuditUnavailable(f"the audit log was changed, so this is refused: {self.damage}: {advice}")
        why = self.failure or why or "it took too long"
        return AuditUnavailable(
            f"the audit log can't be written, so this is refused: {why}: make room or mend the disk"
        )
