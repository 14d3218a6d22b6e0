"""What was done without a record? It waits for room in memory, and on a slate that outlives the daemon."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger.kinds import LATE
from eleagent_daemon.store.slate import Slate

log = logging.getLogger(__name__)

LATE_RECORDS: Final = 10_000


class Late:
    """`records` wait; so many were `lost`, for want of a place. What blocks is for the writer's thread."""

    def __init__(self, path: Path) -> None:
        self.records: list[AuditRecord] = []
        self.lost = 0
        self._slate = Slate(path)

    def open(self) -> None:
        """Blocking. Take up what an earlier daemon left. Raises OSError."""
        self.records = [msgspec.json.decode(note, type=AuditRecord) for note in self._slate.open()]

    def keep_room(self) -> None:
        """Blocking. Raises OSError."""
        self._slate.keep()

    def add(self, record: AuditRecord) -> AuditRecord | None:
        """What is to be noted, where there is a place for it."""
        if len(self.records) >= LATE_RECORDS:
            self.lost += 1
            return None
        late = msgspec.structs.replace(record, details=record.details | {LATE: "true"})
        self.records.append(late)
        return late

    def note(self, late: AuditRecord) -> None:
        """Blocking."""
        try:
            self._slate.note(msgspec.json.encode(late))
        except OSError as err:
            log.warning("a record of %s is in memory alone until there is room: %s", late.action, err.strerror)

    def renew(self, waiting: Sequence[AuditRecord]) -> None:
        """Blocking. The others are in the log."""
        try:
            self._slate.wipe()
        except OSError as err:  # then they may be recorded twice
            log.warning("late records can't be wiped from their slate: %s", err.strerror)
        else:
            for late in waiting:
                self.note(late)
