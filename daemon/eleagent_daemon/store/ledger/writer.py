"""What is done in the one thread that writes the audit log? Groups of records, the last of them into kept room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eleagent.errors import TamperFound
from eleagent.transparency.logfiles import log_folders
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.durable import see_room
from eleagent_daemon.store.ledger.keys import Keys
from eleagent_daemon.store.ledger.log import Log
from eleagent_daemon.store.ledger.origins import begin_first, begin_next
from eleagent_daemon.store.ledger.reserve import Reserve


class Part(Protocol):
    """Records that become durable together or not at all. `take_away`: they may go into the room that was kept."""

    @property
    def entries(self) -> Sequence[AuditRecord]: ...
    @property
    def take_away(self) -> bool: ...


@dataclass
class Written:
    """What came of a group: the first seq of each of its parts that is durable, and why others are not."""

    first: dict[int, int]
    error: Exception | None = None


class Writer:
    """Everything here blocks. `log` is None until there is one that holds."""

    def __init__(self, folder: Path, *, keys: Keys, installation: str) -> None:
        self.log: Log | None = None
        self._folder = folder
        self._keys = keys
        self._installation = installation
        self._reserve = Reserve(folder / "reserve")

    def open(self) -> None:
        """Raises TamperFound, OSError."""
        folders = log_folders(self._folder)
        if folders:
            self.log = Log.open(folders[-1], keys=self._keys)
        else:
            self.log = begin_first(self._folder, self._installation, self._keys)

    def close(self) -> None:
        if self.log is not None:
            self.log.close()

    def keep_room(self) -> None:
        """Raises OSError."""
        self._reserve.keep()

    def shortage(self) -> str:
        """That the disk will be full soon; else empty. Raises OSError."""
        return self._reserve.shortage()

    def reopen(self) -> None:
        """After an OSError. Raises TamperFound, OSError."""
        assert self.log is not None  # noqa: S101 - a log that can't be reopened is closed, not gone
        self.log.close()
        self.log = Log.open(self.log.folder.path, keys=self._keys)

    def begin_next(self, *, actor: str, reason: str) -> Log:
        """A new log after this one. Raises OSError."""
        self.close()
        self.log = begin_next(self._folder, self._installation, self._keys, actor=actor, reason=reason)
        return self.log

    def rotate_key(self, *, actor: str) -> None:
        """Raises OSError."""
        assert self.log is not None  # noqa: S101 - the caller saw that it is
        self.log.rotate_key(actor=actor)

    def commit(self, parts: Sequence[Part], *, failure: str) -> Written:
        """It never raises. While the log fails only what takes away is tried."""
        try:
            if not failure:
                see_room(self._folder)
                return Written(self._append(dict(enumerate(parts))))
            why: Exception = OSError(failure)
        except (OSError, TamperFound) as err:
            why = err
        urgent = {number: one for number, one in enumerate(parts) if one.take_away}
        try:
            return Written(self._append_to_reserve(urgent) if urgent else {}, why)
        except (OSError, TamperFound):
            return Written({}, why)

    def _append(self, parts: Mapping[int, Part]) -> dict[int, int]:
        assert self.log is not None  # noqa: S101 - the caller saw that it is
        seq = self.log.append([entry for one in parts.values() for entry in one.entries])
        first = {}
        for number, one in parts.items():
            first[number] = seq
            seq += len(one.entries)
        return first

    def _append_to_reserve(self, urgent: Mapping[int, Part]) -> dict[int, int]:
        self.reopen()
        try:
            if self._reserve.there:
                see_room(self._folder)
            return self._append(urgent)
        except OSError:
            if not self._reserve.there:
                raise
        self._reserve.give()
        self.reopen()
        return self._append(urgent)
