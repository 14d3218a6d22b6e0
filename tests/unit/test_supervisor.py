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
    """Each child is one user's."""
    supervisor, children = Supervisor(slots=slots, slots_per_user=slots), Children()
    for name in names:
        supervisor.submit(name, children.work(name), user=name)
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


async def test_supervisor_users_take_turns_and_none_has_more_than_his_slots() -> None:
    supervisor, children = Supervisor(slots=3, slots_per_user=2), Children()
    for name in ("a1", "a2", "a3", "a4", "b1", "b2"):
        supervisor.submit(name, children.work(name), user=name[0])
    await asyncio.sleep(0.01)
    assert children.started == ["a1", "a2", "b1"], "a third of the same user waits though there is a slot"
    assert [supervisor.place(name) for name in ("a3", "b2", "a4")] == [1, 2, 3]
    await children.end("b1")
    assert children.started[3:] == ["b2"]
    await children.end("a1")
    assert children.started[4:] == ["a3"]
    await supervisor.close()
    assert "a4" not in children.started


async def test_supervisor_counts_what_runs_already_as_its_users() -> None:
    supervisor, children = Supervisor(slots=2, slots_per_user=1), Children()
    supervisor.submit("old", children.work("old"), user="a", at_once=True)
    supervisor.submit("a1", children.work("a1"), user="a")
    await asyncio.sleep(0.01)
    assert children.started == ["old"]
    await children.end("old")
    assert children.started == ["old", "a1"]
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
    supervisor, children = Supervisor(slots=1, slots_per_user=1), Children()
    supervisor.serve("launcher", children.work("launcher"))
    supervisor.submit("a", children.work("a"), user="u")
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
