"""What does a timeline say about a session that an earlier daemon left alive?"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from eleagent.wire.events import (
    TYPES,
    ApprovalAnswered,
    ArtefactStored,
    EgressModel,
    EgressTunnel,
    InputAccepted,
    LimitMet,
    LimitNear,
    LimitsChanged,
    SandboxAttested,
    SandboxExited,
    SessionEnded,
    SessionPaused,
    SessionStarted,
    SessionStopping,
    SessionUnpaused,
    UsageEstimated,
)
from eleagent.wire.sessions import Usage
from eleagent.wire.timeline import Event
from eleagent_daemon.domain.sandbox import Phase, Status
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.outcome import Cause


def recall(live: Live, events: Iterable[Event]) -> None:
    """Bring a session's state to where its last durable event left it."""
    for event in events:
        live.seen_until = event.ts
        if event.position is not None:
            live.position = event.position
        if event.type not in TYPES:
            continue
        if event.type in (EgressModel.type, EgressTunnel.type):
            live.egress_bytes += int(event.data.get("bytes_up", 0))
        try:
            payload = event.payload()
        except msgspec.ValidationError:
            continue  # what can't be read is left out: a session is not lost over one line
        match payload:
            case EgressModel() if payload.allowed:
                one = msgspec.structs.replace(payload.usage, requests=int(bool(payload.upstream)))
                live.usage_before = live.usage_before.plus(one)
                live.stop_reason = payload.stop_reason or live.stop_reason
            case EgressModel():
                live.usage_before = live.usage_before.plus(Usage(refused=payload.count))
            case UsageEstimated():
                live.usage_before = live.usage_before.plus(payload.usage)
            case SandboxAttested():
                live.report = payload.report
            case InputAccepted():
                live.inputs[payload.id] = payload.text
            case ApprovalAnswered():
                live.answered[payload.id] = payload
            case SessionStarted():
                live.started, live.boot_id = event.ts, payload.boot_id
            case ArtefactStored():
                live.stored.add(payload.path)
            case SandboxExited():
                live.exited = Status(phase=Phase.EXITED, exit_code=payload.exit_code, oom=payload.oom)
            case SessionEnded():
                live.ended = payload
            case SessionPaused():
                live.paused(event.ts)
            case SessionUnpaused(running=True):
                live.unpaused(event.ts)
            case SessionStopping():
                live.cause, live.by, live.why = Cause(payload.reason), payload.by_user, payload.detail
            case LimitNear():
                live.warned |= {payload.limit}
            case LimitMet(action="pause"):
                live.paused_at = payload
            case LimitsChanged():
                live.warned = frozenset()
            case _:
                pass
        live.adapter.recall(payload)
        live.claims.take(payload)
