"""Which operations tell about the daemon itself, and end it?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import system

STATUS: Final = Operation(
    id="status", method="GET", path="/v1/status", permission=Permission.SYSTEM_READ, audit="system.status",
    effect=Effect.READ, summary="Which daemon this is and who you are to it", result=system.Status,
)  # fmt: skip
DOCTOR: Final = Operation(
    id="doctor", method="GET", path="/v1/doctor", permission=Permission.SYSTEM_READ, audit="system.doctor",
    effect=Effect.READ, summary="What this host can enforce, and what to do about the rest", result=system.Doctor,
)  # fmt: skip
DAEMON_STOP: Final = Operation(
    id="daemon_stop", method="POST", path="/v1/daemon/stop", permission=Permission.DAEMON_STOP, audit="daemon.stop",
    effect=Effect.TAKE_AWAY, summary="End the daemon, over its Unix socket alone; sessions go on without it",
    result=system.Stopping, status=202, here=True,
)  # fmt: skip
OPENAPI: Final = Operation(
    id="openapi", method="GET", path="/v1/openapi.json", permission=Permission.SYSTEM_READ, audit="system.openapi",
    effect=Effect.READ, summary="This table as an OpenAPI 3.1 document", result=dict,
)  # fmt: skip
