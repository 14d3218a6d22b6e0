"""What did sessions reach for on the network, and what was decided?"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Door(StrEnum):
    MODEL = "model"
    TUNNEL = "tunnel"


class EgressDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a door, allowed or not; `count` of one rule where many were refused in a row.

    `id` counts as decisions are read from the timelines and is the cursor; `seq` is the event of `session` that says
    so. `host` has a port at the tunnel door. `asked` is the method and path at the model door.
    """

    id: int
    session: str
    seq: int
    ts: str
    door: Door
    allowed: bool
    rule: str
    host: str
    asked: str = ""
    address: str = ""
    reason: str = ""
    bytes_up: int = 0
    bytes_down: int = 0
    duration_ms: int = 0
    count: int = 1


class EgressList(msgspec.Struct, frozen=True):
    """Oldest first. `next` is the cursor for the following page (the one before, with newest), None at the end."""

    decisions: list[EgressDecision]
    next: int | None = None


class EgressHost(msgspec.Struct, frozen=True, kw_only=True):
    """How often a host was asked for, and how much went each way."""

    host: str
    allowed: int
    refused: int
    sessions: int
    bytes_up: int
    bytes_down: int
    last: str


class EgressTop(msgspec.Struct, frozen=True):
    """The hosts that were asked for most, most first."""

    hosts: list[EgressHost]
