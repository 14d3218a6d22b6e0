"""Do children get their slots in order, and does a failing one take no sibling with it?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from eleagent_daemon.sessions.previews import LIMIT, Previews
from eleagent_daemon.sessions.supervisor import Supervisor


class Children:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self._gates: dict[str, asyncio.Future[None]] = {}

    def work(self, name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            self.started.append(name)
            self._gates[name] = asyncio.get_running_loop().create_future()
            try:
                await self._gates[name]
            finally:
                self.ended.append(name)

        return run

    async def end(self, name: str, error: Exception | None = None) -> None:
        self._gates[name].set_exception(error) if error else self._gates[name].set_result(None)
        await asyncio.sleep(0.01)


async def filled(slots: int, names: str) -> tuple[Supervisor, Children]:
    supervisor, children = Supervisor(slots=slots), Children()
    for name in names:
        supervisor.submit(name, children.work(name))
    await asyncio.sleep(0.01)
    return supervisor, children


async def test_supervisor_gives_slots_in_the_order_of_arrival() -> None:
    supervisor, children = await filled(2, "abcd")
    assert (children.started, supervisor.queued) == (["a", "b"], 2)
    assert [supervisor.place(name) for name in "abcdx"] == [None, None, 1, 2, None]
    await children.end("b")
    assert children.started == ["a", "b", "c"]
    assert supervisor.place("d") == 1
    await children.end("a")
    assert (children.started, supervisor.queued) == (["a", "b", "c", "d"], 0)
    await supervisor.close()


async def test_supervisor_withdrawn_child_never_runs() -> None:
    supervisor, children = await filled(1, "abc")
    assert supervisor.withdraw("b")
    assert not supervisor.withdraw("b")
    assert not supervisor.withdraw("a"), "it works already"
    await children.end("a")
    assert children.started == ["a", "c"]
    await supervisor.close()


async def test_supervisor_failing_child_takes_no_sibling(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, children = await filled(2, "abc")
    with caplog.at_level(logging.ERROR):
        await children.end("a", RuntimeError("broken"))
    assert "a failed" in caplog.text
    assert (children.started, children.ended) == (["a", "b", "c"], ["a"])
    await supervisor.close()


async def test_supervisor_service_takes_no_slot() -> None:
    supervisor, children = Supervisor(slots=1), Children()
    supervisor.serve("launcher", children.work("launcher"))
    supervisor.submit("a", children.work("a"))
    await asyncio.sleep(0.01)
    assert sorted(children.started) == ["a", "launcher"]
    await children.end("launcher", RuntimeError("broken"))
    assert children.ended == ["launcher"]
    await supervisor.close()


async def test_supervisor_close_cancels_all_and_starts_nothing() -> None:
    supervisor, children = await filled(1, "ab")
    supervisor.serve("s", children.work("s"))
    await asyncio.sleep(0)
    await supervisor.close()
    await asyncio.sleep(0.01)
    assert (sorted(children.started), sorted(children.ended)) == (["a", "s"], ["a", "s"])


# Previews


async def test_previews_reach_each_listener_in_order() -> None:
    previews = Previews()
    previews.push("nobody hears this")
    with previews.listen() as one, previews.listen() as two:
        previews.push("a")
        previews.push("b")
        assert [one.get_nowait(), one.get_nowait(), two.get_nowait()] == ["a", "b", "a"]


async def test_previews_listener_that_does_not_read_loses_the_oldest() -> None:
    previews = Previews()
    with previews.listen() as slow:
        for number in range(LIMIT + 3):
            previews.push(str(number))
        assert (slow.qsize(), slow.get_nowait()) == (LIMIT, "3")
    previews.push("after")
    assert slow.qsize() == LIMIT - 1, "it listens no more"
