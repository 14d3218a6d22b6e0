"""What was asked of the kernel for one sandbox, and what was found?"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ControlClass(StrEnum):
    """A missing confinement control ends the session in every mode; a missing resource control only under `strict`."""

    CONFINEMENT = "confinement"
    RESOURCES = "resources"


class Control(msgspec.Struct, frozen=True):
    """`source` is where `found` was read: a file of the kernel, a system call, or the engine."""

    name: str
    cls: ControlClass
    asked: str
    found: str
    source: str
    ok: bool


class Binding(msgspec.Struct, frozen=True):
    """What the report holds for, and nothing else: another container, process or namespace voids it."""

    sandbox_id: str
    started_at: str
    pid: int
    pid_start_ticks: int
    netns_inode: int


class Report(msgspec.Struct, frozen=True):
    """`complete`: every confinement control was found. `missing_resources` names what best-effort does without."""

    runtime: str
    controls: list[Control]
    binding: Binding
    complete: bool
    missing_resources: list[str] = []

    @property
    def failures(self) -> list[Control]:
        return [control for control in self.controls if not control.ok]
