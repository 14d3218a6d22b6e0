"""What does the launcher know about a sandbox that must outlive the launcher?"""

from __future__ import annotations

from pathlib import Path

import msgspec

from eleagent.wire.attestation import Report
from eleagent_daemon.domain.sandbox import Placement, SandboxSpec
from eleagent_daemon.runtime.seam import Sandbox

NAME = "record.json"


class Record(msgspec.Struct, kw_only=True):
    """`sandbox_id` is empty until the runtime made it. `report` is of the last attestation before the release.
    `spare` is what the runtime was asked for where the sandbox was taken from a spare.

    `released`: the gate's word may have been written; `opened`: it was. `writing` is the input message that is going
    into the pipe, `written` are those that went in whole.
    """

    spec: SandboxSpec
    spare: SandboxSpec | None = None
    placement: Placement | None = None
    sandbox_id: str = ""
    report: Report | None = None
    released: bool = False
    opened: bool = False
    writing: str = ""
    written: list[str] = []

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(self.spec.name, self.sandbox_id)

    @property
    def gate(self) -> tuple[str, ...]:
        """The command line of its first process while the gate is shut."""
        return (self.spare or self.spec).gate()

    def save(self, folder: Path) -> None:
        """Whole or not at all: the launcher may be killed at any point."""
        new = folder / f"{NAME}.new"
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.encode(self))
        new.rename(folder / NAME)

    @staticmethod
    def load(folder: Path) -> Record:
        """Raises FileNotFoundError, or msgspec.DecodeError for a record that this version does not understand."""
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Record)
