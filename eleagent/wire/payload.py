"""What is the payload of every event, and who says so?"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec


class Provenance(StrEnum):
    """OBSERVED: the host saw it for itself. CLAIMED: it came through the agent's pipes."""

    OBSERVED = "observed"
    CLAIMED = "claimed"


class Payload(msgspec.Struct, frozen=True):
    type: ClassVar[str]
    by: ClassVar[Provenance] = Provenance.OBSERVED
