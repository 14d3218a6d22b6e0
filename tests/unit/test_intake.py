"""Is every byte of output in exactly one event, wherever the daemon died and however the output was cut into frames?"""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent.wire.events import AgentToolCall, AgentTurnFinished, OutputGap, OutputText
from eleagent.wire.observations import ClaimsCompared, ObservationStarted, Observer, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent.wire.timeline import Position
from eleagent_daemon.domain.observed import pack
from eleagent_daemon.domain.spool import HEADER, Frame, Stream
from eleagent_daemon.sessions import intake as module
from eleagent_daemon.sessions.adapter import Item
from eleagent_daemon.sessions.claims import Claims
from eleagent_daemon.sessions.command import CommandAdapter
from eleagent_daemon.sessions.intake import Intake, Placed


class LineAdapter(CommandAdapter):
    """Three events a line, so that a crash can fall between them; an empty line means nothing."""

    lines = True

    def __init__(self) -> None:
        super().__init__(argv=("x",), env={}, model_door=False)

    def out(self, data: bytes | str) -> Sequence[Item]:
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        return [OutputText(stream="out", text=f"{text}/{part}") for part in range(3)] if text else []


def seen(count: int) -> bytes:
    """A frame of observations, told apart by nothing but their number."""
    return pack([ObservationStarted(programs=Observer.AUDIT, why=str(number)) for number in range(count)])


def frames_of(pieces: list[tuple[bool | None, bytes]]) -> list[Frame]:
    """True is stdout, False stderr, None what the launcher saw."""
    frames, offset, at = [], 0, {Stream.OUT: 0, Stream.ERR: 0, Stream.SEEN: 0}
    for is_out, payload in pieces:
        stream = Stream.SEEN if is_out is None else Stream.OUT if is_out else Stream.ERR
        frames.append(Frame(stream=stream, offset=offset, at=at[stream], payload=payload))
        offset += HEADER.size + len(payload)
        at[stream] += len(payload)
    return frames


def run(adapter: CommandAdapter, frames: list[Frame], position: Position | None, *, end: bool = True) -> list[Placed]:
    intake = Intake(adapter=adapter, claims=Claims({}), position=position)
    start = position.offset if position else 0
    taken = [item for frame in frames if frame.offset >= start for item in intake.take(frame)]
    if end:
        taken += list(intake.end())
    return [item for item in taken if isinstance(item, Placed)]


def texts(placed: list[Placed]) -> list[tuple[str, str]]:
    return [(item.payload.stream, item.payload.text) for item in placed if isinstance(item.payload, OutputText)]


def everything(placed: list[Placed]) -> list[tuple[str, str]]:
    """Text, and observations, in the order in which they came."""
    payloads = [item.payload for item in placed]
    return [
        (one.stream, one.text) if isinstance(one, OutputText) else (one.type, one.why)
        for one in payloads
        if isinstance(one, OutputText | ObservationStarted)
    ]


pieces = st.lists(
    st.one_of(
        st.tuples(
            st.booleans(),
            st.one_of(
                st.binary(min_size=1, max_size=12),
                st.sampled_from([b"a\nb\n", b"\n", b"ab", "ü\n".encode(), b"\xc3", b"\n\nq"]),
            ),
        ),
        st.tuples(st.none(), st.integers(1, 3).map(seen)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("make", [LineAdapter, lambda: CommandAdapter(argv=("x",), env={}, model_door=False)])
@given(pieces=pieces)
@settings(max_examples=200, deadline=None)
def test_intake_resumes_after_any_event_without_loss_or_repeat(make, pieces):
    frames = frames_of(pieces)
    whole = run(make(), frames, None)
    for number, item in enumerate(whole, 1):
        rest = run(make(), frames, item.position)
        assert everything(whole[:number]) + everything(rest) == everything(whole)


@given(pieces=pieces)
@settings(deadline=None)
def test_intake_text_holds_every_byte_of_each_stream_in_order(pieces):
    placed = run(CommandAdapter(argv=("x",), env={}, model_door=False), frames_of(pieces), None)
    for is_out, name in ((True, "out"), (False, "err")):
        written = b"".join(payload for out, payload in pieces if out is is_out)
        assert "".join(text for stream, text in texts(placed) if stream == name) == written.decode(errors="replace")


class TurnAdapter(LineAdapter):
    """A report of a command and the end of a turn in each line."""

    commands: Mapping[str, str] = {"Bash": "command"}

    def out(self, data: bytes | str) -> Sequence[Item]:
        text = data.decode(errors="replace") if isinstance(data, bytes) else data
        if not text:
            return []
        call = AgentToolCall(id=text, name="Bash", input='{"command": "ls"}')
        return [call, AgentTurnFinished(text="", is_error=False, subtype="", turns=1, confirmed=True)]


def ran(count: int) -> bytes:
    return pack([ProgramExecuted(at="", pid=n, ppid=0, exe=f"/bin/{n}", argv=["x"]) for n in range(1, count + 1)])


def payloads(frames: list[Frame], position: Position | None, recalled: list[Payload]) -> list[tuple[Payload, Position]]:
    claims = Claims(TurnAdapter.commands)
    claims.take(ObservationStarted(programs=Observer.AUDIT))
    for payload in recalled:
        claims.take(payload)
    intake = Intake(adapter=TurnAdapter(), claims=claims, position=position)
    start = position.offset if position else 0
    taken = [item for frame in frames if frame.offset >= start for item in intake.take(frame)]
    return [(one.payload, one.position) for one in [*taken, *intake.end()] if isinstance(one, Placed)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(True), st.sampled_from([b"a\n", b"b", b"c\nd\n", b"\n"])),
            st.tuples(st.none(), st.integers(1, 3).map(ran)),
        ),
        max_size=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_intake_compares_claims_once_a_turn_wherever_the_daemon_died(pieces):
    frames = frames_of(pieces)
    whole = payloads(frames, None, [])
    said = [payload for payload, _ in whole]
    turns = sum(isinstance(one, AgentTurnFinished) for one in said)
    assert sum(isinstance(one, ClaimsCompared) for one in said) == turns + 1
    for number, (_, position) in enumerate(whole, 1):
        rest = payloads(frames, position, said[:number])
        assert said[:number] + [payload for payload, _ in rest] == said


def test_intake_leaves_out_an_overlong_line_and_says_so(monkeypatch):
    monkeypatch.setattr(module, "LINE_LIMIT_BYTES", 10)
    placed = run(LineAdapter(), frames_of([(True, b"x" * 8), (True, b"y" * 8), (True, b"z" * 4 + b"\nshort\n")]), None)
    assert [item.payload.size_bytes for item in placed if isinstance(item.payload, OutputGap)] == [20]
    assert texts(placed) == [("out", f"short/{part}") for part in range(3)]


def test_intake_says_what_of_the_launchers_it_can_not_read():
    (placed,) = run(LineAdapter(), frames_of([(None, b'[{"type":"session.ended","data":{}}]')]), None)
    assert isinstance(placed.payload, OutputGap)
    assert "can't be read" in placed.payload.reason


def test_intake_passes_on_a_gap_of_the_spool():
    gap = Frame(stream=Stream.GAP, offset=0, at=7, payload=b"the launcher was away")
    (placed,) = run(LineAdapter(), [gap], None)
    assert placed.payload == OutputGap(reason="the launcher was away", size_bytes=7)
