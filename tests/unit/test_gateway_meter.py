"""Are tokens and stop reason read rightly, however an answer is cut into chunks?"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.wire.sessions import Usage
from eleagent_daemon.gateway.meter import EVENT_LIMIT_BYTES, JsonMeter, SseMeter, meter_for


def event(**data: Any) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


START = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
STREAM = b"".join(
    [
        event(type="message_start", message={"usage": START, "stop_reason": None}),
        b": a comment\n\n",
        event(type="ping"),
        event(type="content_block_delta", delta={"type": "text_delta", "text": 'data: {"type":"message_stop"}\n\n ä'}),
        event(
            type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 25, "input_tokens": None}
        ),
        event(type="message_stop"),
    ]
)
TOTAL = Usage(input_tokens=10, output_tokens=25, cache_read_tokens=3, cache_write_tokens=4)


def assert_read(meter: SseMeter) -> None:
    assert (meter.usage, meter.stop_reason, meter.complete, meter.error) == (TOTAL, "tool_use", True, "")


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n\n", b"\r\n\r\n")])
def test_stream_is_read_the_same_split_at_every_point(stream: bytes) -> None:
    for point in range(len(stream) + 1):
        meter = SseMeter()
        meter.feed(stream[:point])
        meter.feed(stream[point:])
        assert_read(meter)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_stream_is_read_the_same_in_any_chunks(points: list[int]) -> None:
    meter = SseMeter()
    bounds = [0, *sorted(points), len(STREAM)]
    for begin, end in pairwise(bounds):
        meter.feed(STREAM[begin:end])
    assert_read(meter)


def test_stream_that_breaks_off_is_not_complete_and_keeps_what_it_told() -> None:
    meter = SseMeter()
    meter.feed(STREAM[: STREAM.index(b"event: message_stop")])
    meter.end()

    assert not meter.complete
    assert meter.usage == TOTAL


def test_stream_tells_the_providers_error() -> None:
    meter = SseMeter()
    meter.feed(event(type="error", error={"type": "overloaded_error", "message": "Overloaded"}))

    assert meter.error == "overloaded_error: Overloaded"


def test_event_too_long_is_passed_over_in_bounded_memory() -> None:
    meter = SseMeter()
    meter.feed(b"data: ")
    for _ in range(3):
        meter.feed(b"x" * EVENT_LIMIT_BYTES)
    assert len(meter._line) + len(meter._data) <= EVENT_LIMIT_BYTES
    meter.feed(b"\n\n" + STREAM)

    assert_read(meter)


@given(st.binary(max_size=300))
def test_stream_of_anything_is_survived(noise: bytes) -> None:
    meter = SseMeter()
    meter.feed(noise + b"\n\n" + STREAM)
    assert_read(meter)


@pytest.mark.parametrize(
    "data", ["null", "[]", "{", '{"type":"message_start"}', '{"type":"message_start","message":[]}',
             '{"type":"message_delta","usage":{"output_tokens":"x"},"delta":7}', '{"type":"error","error":"x"}',
             '{"type":["message_stop"]}']
)  # fmt: skip
def test_event_of_another_shape_counts_nothing(data: str) -> None:
    meter = SseMeter()
    meter.feed(f"data: {data}\n\n".encode())

    assert (meter.usage, meter.stop_reason, meter.complete) == (Usage(), "", False)


@given(st.integers(0, 60))
def test_document_is_read_when_it_is_whole(point: int) -> None:
    document = json.dumps({"stop_reason": "end_turn", "usage": {"input_tokens": 2, "output_tokens": 3}}).encode()
    meter = JsonMeter()
    meter.feed(document[:point])
    meter.feed(document[point:])
    assert not meter.complete
    meter.end()

    assert (meter.usage, meter.stop_reason) == (Usage(input_tokens=2, output_tokens=3), "end_turn")


def test_document_tells_the_providers_error() -> None:
    meter = JsonMeter()
    meter.feed(b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}')
    meter.end()

    assert meter.error == "invalid_request_error: no"


def test_meter_goes_by_content_type() -> None:
    assert isinstance(meter_for("Text/Event-Stream; charset=utf-8"), SseMeter)
    assert isinstance(meter_for("application/json"), JsonMeter)
