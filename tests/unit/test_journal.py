"""Does the daemon's log say where an error came from, and nothing that the error stumbled over?"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eleagent.errors import StorageUnavailable
from eleagent_daemon.journal import JsonFormatter


def journalled(raising: Callable[[], object]) -> dict[str, Any]:
    """The line of an error."""
    with pytest.raises(Exception) as caught:
        raising()
    told = (caught.type, caught.value, caught.tb)
    line = JsonFormatter().format(logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", None, told))
    found: dict[str, Any] = json.loads(line)
    return found


def stumble() -> None:
    raise ValueError("bad header 'x-api-key: hunter2'")


def chained() -> None:
    try:
        stumble()
    except ValueError as err:
        raise RuntimeError("hunter2 again") from err


def grouped() -> None:
    raise ExceptionGroup("hunter2", [KeyError("hunter2"), StorageUnavailable("the disk is full")])


@pytest.mark.parametrize(
    ("raising", "told"),
    [
        (stumble, ["in stumble", "test_journal.py", "ValueError\n"]),
        (chained, ["in stumble", "ValueError\n", "and then:", "in chained", "RuntimeError\n"]),
        (grouped, ["ExceptionGroup\n", "KeyError\n", "StorageUnavailable: the disk is full\n"]),
        (Path("/nowhere/hunt").stat, ["FileNotFoundError: No such file or directory (/nowhere/hunt)\n"]),
    ],
)
def test_journal_tells_an_errors_kind_and_way_and_not_its_words(raising: Callable[[], object], told: list[str]) -> None:
    said = journalled(raising)["exception"]
    assert [part for part in told if part not in said] == []
    assert said.endswith(told[-1])
    without_source = "\n".join(line for line in said.splitlines() if not line.startswith("    "))
    assert "hunter2" not in without_source


async def test_journal_keeps_a_lost_tasks_words_out(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(asyncio.to_thread(stumble))
    await asyncio.wait({task})
    loop.default_exception_handler(
        {"message": "Task exception was never retrieved", "exception": task.exception(), "future": task}
    )
    (record,) = caplog.records
    assert "hunter2" in record.getMessage()
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "Task exception was never retrieved"
    assert "in stumble" in line["exception"]
