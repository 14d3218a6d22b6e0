"""What does the daemon write to its log? One JSON object a line, with the request it belongs to."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from eleagent.errors import EleAgentError
from eleagent_daemon.api.pipeline import REQUEST_ID

_FRAMES: Final = 20


class JsonFormatter(logging.Formatter):
    """An error is told by its kind and the lines that it came through. Its words are kept where they are ours or the
    kernel's; any other's may hold what it stumbled over, a secret too.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if request := REQUEST_ID.get():
            entry["request"] = request
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = "".join(_told(record.exc_info[1]))
        return json.dumps(entry)


def _message(record: logging.LogRecord) -> str:
    """asyncio shows the task, and with it the error's words, from the second line on."""
    text = record.getMessage()
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _told(error: BaseException) -> Iterator[str]:
    """What it came of goes first, as Python tells it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _told(before)
        yield "and then:\n"
    yield from traceback.format_tb(error.__traceback__, limit=-_FRAMES)
    yield f"{type(error).__qualname__}{_words(error)}\n"
    for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _told(one)


def _words(error: BaseException) -> str:
    if isinstance(error, EleAgentError):
        return f": {error.message}"
    if isinstance(error, OSError) and error.errno:
        return f": {os.strerror(error.errno)}" + (f" ({error.filename})" if error.filename else "")
    return ""


def start_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
