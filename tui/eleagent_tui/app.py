"""What does `eleagent` without a command open on a terminal?"""

from __future__ import annotations

import sys

from eleagent.client.locate import Address


def run(address: Address) -> int:
    """Say that the full-screen client, which would meet the daemon at `address`, comes later. Returns the exit code."""
    sys.stdout.write("the full-screen client comes later; until then: eleagent ps, eleagent run, eleagent --help\n")
    return 0
