"""What did the provider's answer cost, and how did it end? Read from the bytes as they pass, however they are cut."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from eleagent.wire.sessions import Usage

EVENT_LIMIT_BYTES: Final = 1 << 20
JSON_LIMIT_BYTES: Final = 8 << 20
"""What is longer passes the door but is not read: usage stands in short events."""

_COUNTERS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


class Meter(Protocol):
    @property
    def usage(self) -> Usage: ...

    @property
    def stop_reason(self) -> str: ...

    @property
    def complete(self) -> bool:
        """The answer has come to its end."""

    @property
    def error(self) -> str:
        """What the provider says went wrong, empty when nothing did."""

    def feed(self, chunk: bytes) -> None: ...

    def end(self) -> None:
        """No more bytes will come."""


class _Reading:
    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.stop_reason = ""
        self.complete = False
        self.error = ""

    @property
    def usage(self) -> Usage:
        return Usage(**self._counts)

    def _message(self, message: Any) -> None:
        """Takes in a message, or what a later event adds to it: counts are totals, so the last one holds."""
        if not isinstance(message, dict):
            return
        usage = message.get("usage")
        if isinstance(usage, dict):
            known = {ours: usage.get(theirs) for theirs, ours in _COUNTERS.items()}
            written = usage.get("cache_creation")
            if isinstance(written, dict):
                known["cache_write_1h_tokens"] = written.get("ephemeral_1h_input_tokens")
            self._counts |= {name: count for name, count in known.items() if isinstance(count, int) and count >= 0}
        if isinstance(reason := message.get("stop_reason"), str):
            self.stop_reason = reason[:60]

    def _error(self, error: Any) -> None:
        if isinstance(error, dict):
            self.error = f"{error.get('type', 'error')}: {error.get('message', '')}"[:300]


class SseMeter(_Reading):
    """Reads a stream of server-sent events (WHATWG HTML 9.2; the provider ends lines with LF or CRLF)."""

    def __init__(self) -> None:
        super().__init__()
        self._line = bytearray()
        self._data = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._append(line)
            self._end_line()
        self._append(rest)

    def end(self) -> None:
        """An event that no empty line ended is none."""

    def _append(self, part: bytes) -> None:
        if len(self._line) + len(self._data) + len(part) > EVENT_LIMIT_BYTES:
            self._too_long = True
            self._line.clear()
        elif not self._too_long:
            self._line += part

    def _end_line(self) -> None:
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        if line.startswith(b"data:"):
            self._data += line[5:]
        elif not line and not self._too_long:
            self._event(bytes(self._data))
        if not line:
            # an event too long to keep ends here, at the empty line or at its own line's end, which is the same to us
            self._data.clear()
            self._too_long = False

    def _event(self, data: bytes) -> None:
        if b'"message_' not in data and b'"error"' not in data:
            return
        try:
            event = json.loads(data)
        except ValueError:
            return
        match event:
            case {"type": "message_start", "message": message}:
                self._message(message)
            case {"type": "message_delta", **rest}:
                self._message(rest)
                self._message(rest.get("delta"))
            case {"type": "message_stop"}:
                self.complete = True
            case {"type": "error", "error": error}:
                self._error(error)


class JsonMeter(_Reading):
    """Reads an answer that is one JSON document."""

    def __init__(self) -> None:
        super().__init__()
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        if len(self._body) <= JSON_LIMIT_BYTES:
            self._body += chunk

    def end(self) -> None:
        self.complete = True
        try:
            body = json.loads(self._body)
        except ValueError:
            return
        self._message(body)
        if isinstance(body, dict):
            self._error(body.get("error"))


def meter_for(content_type: str) -> Meter:
    return SseMeter() if content_type.partition(";")[0].strip().lower() == "text/event-stream" else JsonMeter()
