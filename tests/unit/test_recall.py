"""Does a daemon that comes back stand where the last durable event left the one before it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from eleagent.wire.attestation import Binding, Report
from eleagent.wire.events import (
    EgressModel,
    InputAccepted,
    OutputText,
    Payload,
    Provenance,
    SandboxAttested,
)
from eleagent.wire.sessions import Usage
from eleagent.wire.timeline import Event, Position
from eleagent_daemon.sessions.claims import Claims
from eleagent_daemon.sessions.command import CommandAdapter
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.recall import recall


class Listening(CommandAdapter):
    def __init__(self) -> None:
        super().__init__(argv=["x"], env={}, model_door=False)
        self.heard: list[Payload] = []

    def recall(self, payload: Payload) -> None:
        self.heard.append(payload)


def fresh() -> tuple[Live, Listening]:
    adapter, nothing = Listening(), cast(Any, None)
    live = Live(
        record=nothing,
        timeline=nothing,
        adapter=adapter,
        claims=Claims(adapter.commands),
        registry=nothing,
        spool=Path("/none"),
    )
    return live, adapter


def event(payload: Payload, position: Position | None = None) -> Event:
    return Event(
        seq=1,
        ts="2026-01-01T00:00:00Z",
        type=payload.type,
        by=payload.by,
        data=msgspec.to_builtins(payload),
        position=position,
    )


def model(allowed: bool, stop_reason: str = "", **usage: int) -> EgressModel:
    return EgressModel(
        allowed=allowed,
        rule="r",
        method="POST",
        path="/v1/messages",
        status=200,
        stop_reason=stop_reason,
        upstream="script" if allowed else "",
        usage=Usage(**usage),
    )


def test_recall_goes_on_at_the_last_position() -> None:
    live, _ = fresh()
    places = [Position(offset=0, out=1, err=0), Position(offset=64, out=9, err=2, skip=1)]
    text = OutputText(stream="out", text="x")
    recall(live, [event(text, places[0]), event(text, places[1]), event(model(True))])
    assert live.position == places[1], "an event without a place does not move it"


def test_recall_counts_what_the_doors_saw() -> None:
    live, _ = fresh()
    seen = [
        model(True, "tool_use", input_tokens=5),
        model(False),
        model(True, "", output_tokens=7),
    ]
    recall(live, [event(one) for one in seen])
    assert live.usage_before == Usage(requests=2, refused=1, input_tokens=5, output_tokens=7)
    assert live.stop_reason == "tool_use"
    assert live.usage == live.usage_before, "as long as no door is open again"


def test_recall_keeps_inputs_and_the_last_report() -> None:
    live, adapter = fresh()
    said = InputAccepted(id="s-a-1", by_user="ada", text="go")
    binding = Binding(sandbox_id="x", started_at="t", pid=1, pid_start_ticks=2, netns_inode=3)
    example = Report(runtime="docker", controls=[], binding=binding, complete=True)
    recall(live, [event(said), event(SandboxAttested(report=example))])
    assert (live.inputs, live.report) == ({"s-a-1": "go"}, example)
    assert adapter.heard == [said, SandboxAttested(report=example)]


def test_recall_leaves_out_what_a_newer_daemon_wrote() -> None:
    live, adapter = fresh()
    place = Position(offset=32, out=4, err=0)
    later = Event(
        seq=1, ts="2026-01-01T00:00:00Z", type="session.renamed", by=Provenance.OBSERVED, data={}, position=place
    )
    recall(live, [later])
    assert (live.position, adapter.heard) == (place, [])


def test_add_sums_every_field() -> None:
    one = Usage(**{name: number for number, name in enumerate(Usage.__struct_fields__, 1)})
    assert one.plus(one) == Usage(**{name: 2 * number for number, name in enumerate(Usage.__struct_fields__, 1)})
