"""How do frames of a spool become events, each with the place where reading goes on after it?"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from eleagent.wire.events import AgentTurnFinished, OutputGap, Payload
from eleagent.wire.timeline import Position
from eleagent_daemon.domain.observed import unpack
from eleagent_daemon.domain.spool import Frame, Stream
from eleagent_daemon.sessions.adapter import Adapter, Item, Preview, Send
from eleagent_daemon.sessions.claims import Claims

LINE_LIMIT_BYTES: Final = 8 << 20
"""A longer line of an agent that speaks in lines is left out, and the timeline says so."""

TEXT_PIECE: Final = 32 * 1024
"""Characters of one output event."""


@dataclass(frozen=True)
class Placed:
    """An event and where reading goes on after it."""

    payload: Payload
    position: Position


Taken = Placed | Send | Preview

_COMPARISON: Final = Payload()
"""Stands for a comparison that is made when its turn comes."""


@dataclass
class _Stream:
    """`done` bytes are taken; `rest` waits for its end, `waiting` bytes are not taken yet, the first of them in the
    frame at `frame`; `dropped` counts an overlong line.
    """

    done: int
    rest: bytearray = field(default_factory=bytearray)
    waiting: int = 0
    frame: int = 0
    dropped: int = 0


class Intake:
    """Resumes at any `position` that it gave out: what comes before is left out, byte for byte and event for event."""

    def __init__(self, *, adapter: Adapter, claims: Claims, position: Position | None) -> None:
        position = position or Position(offset=0, out=0, err=0)
        self._adapter = adapter
        self._claims = claims
        self._out = _Stream(done=position.out)
        self._err = _Stream(done=position.err)
        self._seen = position.seen
        self._skip = position.skip
        self._next_frame = position.offset

    @property
    def offset(self) -> int:
        """The spool offset of the next frame to take."""
        return self._next_frame

    @property
    def position(self) -> Position:
        """Where reading would go on now."""
        return self._place()

    def take(self, frame: Frame) -> Iterator[Taken]:
        """What a frame means. Frames come in order, from the one at `position.offset` on."""
        self._next_frame = frame.end
        if frame.stream is Stream.GAP:
            gap = OutputGap(reason=frame.payload.decode(errors="replace"), size_bytes=frame.at or None)
            yield from self._emit(self._place(), (gap,))
            return
        if frame.stream is Stream.SEEN:
            yield from self._observed(frame)
            return
        stream = self._out if frame.stream is Stream.OUT else self._err
        expected = stream.done + len(stream.rest)
        fresh = frame.payload[max(0, expected - frame.at) :]
        if not fresh:
            return
        stream.done += max(0, frame.at - expected)
        if not stream.rest:
            stream.frame = frame.offset
        stream.waiting = len(stream.rest) + len(fresh)
        if self._adapter.lines and stream is self._out:
            yield from self._lines(stream, fresh, frame.offset)
        else:
            yield from self._text(stream, fresh)

    def end(self) -> Iterator[Taken]:
        """What was still waiting for its end when the output ended."""
        for stream in (self._out, self._err):
            rest = bytes(stream.rest)
            stream.rest.clear()
            if rest:
                before = self._place()
                items = (
                    self._say(stream, rest) if self._adapter.lines else self._say(stream, rest.decode(errors="replace"))
                )
                self._consume(stream, len(rest))
                yield from self._emit(before, items)
        if self._claims.active:
            compared = self._claims.compare(final=True)
            self._claims.take(compared)
            yield Placed(compared, self._place())

    def _observed(self, frame: Frame) -> Iterator[Taken]:
        """A frame of observations is taken as a whole: one that a waiting line made us read again was taken before."""
        end = frame.at + len(frame.payload)
        if end <= self._seen:
            return
        before = msgspec.structs.replace(self._place(), offset=min(self._place().offset, frame.offset))
        self._seen = end
        try:
            observations = unpack(frame.payload)
        except ValueError as error:
            reason = f"what the launcher saw can't be read: {error}"
            observations = [OutputGap(reason=reason, size_bytes=len(frame.payload))]
        yield from self._emit(before, observations)

    def _lines(self, stream: _Stream, fresh: bytes, frame: int) -> Iterator[Taken]:
        data, start, seen = stream.rest, 0, len(stream.rest)
        data += fresh
        while (end := data.find(b"\n", max(start, seen))) >= 0:
            line, start = bytes(data[start:end]), end + 1
            before = self._place()
            size, stream.dropped = stream.dropped, 0
            items = self._too_long(size + len(line)) if size else self._adapter.out(line)
            self._consume(stream, len(line) + 1)
            stream.frame = frame
            yield from self._emit(before, items)
        del data[:start]
        if len(data) > LINE_LIMIT_BYTES or (stream.dropped and data):
            stream.dropped += len(data)
            self._consume(stream, len(data))
            data.clear()

    def _text(self, stream: _Stream, fresh: bytes) -> Iterator[Taken]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        data = bytes(stream.rest + fresh)
        text = decoder.decode(data)
        before = self._place()
        stream.rest[:] = decoder.getstate()[0]
        self._consume(stream, len(data) - len(stream.rest))
        yield from self._emit(before, self._say(stream, text))

    def _say(self, stream: _Stream, text: str | bytes) -> Sequence[Item]:
        if isinstance(text, bytes) and stream is self._out:
            return self._adapter.out(text)
        text = text if isinstance(text, str) else text.decode(errors="replace")
        say = self._adapter.out if stream is self._out else self._adapter.err
        return [item for start in range(0, len(text), TEXT_PIECE) for item in say(text[start : start + TEXT_PIECE])]

    def _too_long(self, size: int) -> Sequence[Item]:
        reason = f"a line of more than {LINE_LIMIT_BYTES >> 20} MiB from the agent was left out"
        return (OutputGap(reason=reason, size_bytes=size),)

    def _consume(self, stream: _Stream, count: int) -> None:
        stream.done += count
        stream.waiting -= count

    def _emit(self, before: Position, items: Sequence[Item]) -> Iterator[Taken]:
        """All but the last event of one piece are placed at its beginning with a count, so that a crash between them
        repeats none."""
        items = [each for item in items for each in self._with_comparison(item)]
        payloads = sum(isinstance(item, Payload) for item in items)
        count = 0
        for item in items:
            if not isinstance(item, Payload):
                yield item
                continue
            count += 1
            if self._skip >= count:
                continue
            payload = self._claims.compare() if item is _COMPARISON else item
            self._claims.take(payload)
            here = msgspec.structs.replace(before, skip=count)
            yield Placed(payload, self._place() if count == payloads else here)
        if payloads:
            self._skip = 0

    def _with_comparison(self, item: Item) -> Sequence[Item]:
        """A turn that is over is followed by what the agent's reports were worth."""
        compares = self._claims.active and isinstance(item, AgentTurnFinished)
        return (item, _COMPARISON) if compares else (item,)

    def _place(self) -> Position:
        """Where reading goes on: at the earliest frame with bytes that were not taken."""
        frames = [stream.frame for stream in (self._out, self._err) if stream.waiting]
        return Position(
            offset=min([self._next_frame, *frames]), out=self._out.done, err=self._err.done, seen=self._seen
        )
