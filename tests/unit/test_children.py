"""Is a step done by a child that stood ready as it would be by one of its own?"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from eleagent.errors import NotFound, Unavailable
from eleagent_daemon.kernel.child import Children, without_descriptors


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    children = Children()
    yield children
    children.close()


def whoami() -> int:
    return os.getpid()


def write_to(fd: int, data: bytes) -> tuple[list[int], list[int]]:
    """Descriptors that are open in the child; one of the file's comes back."""
    os.write(fd, data)
    listed = Path("/proc/self/fd")
    return sorted(int(one.name) for one in listed.iterdir() if one.exists()), [fd]


def fail(why: str) -> tuple[None, list[int]]:
    raise NotFound(why) if why else FileNotFoundError(2, "no such thing", "/there")


def hang() -> int:
    signal.pause()
    return 0


async def pid_of(children: Children) -> int:
    return (await children.run(partial(without_descriptors, whoami), int))[0]


def ready(children: Children) -> int:
    assert children._ready is not None
    return children._ready.pid


async def test_step_is_done_by_the_child_that_stands_ready_and_each_child_does_one(children: Children) -> None:
    first = await pid_of(children)
    waiting = ready(children)
    assert await pid_of(children) == waiting
    assert len({os.getpid(), first, waiting, ready(children)}) == 4


async def test_descriptors_have_their_numbers_and_no_other_is_there(children: Children, tmp_path: Path) -> None:
    await pid_of(children)
    held = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(9)]
    for kept in (held[0], held[-1]):
        job = partial(write_to, kept, b"written")
        (listed, (given,)) = await children.run(job, list[int], keep=[kept])
        assert {0, 1, 2, kept} <= set(listed)
        assert len(listed) == 5, "what it was told by, and nothing else of ours"
        assert os.fstat(given) == os.fstat(kept)
        os.close(given)
    for fd in held:
        os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"written"


async def test_large_steps_go_there_and_back_whole(children: Children) -> None:
    await pid_of(children)
    sent = "x" * (3 << 20)
    assert (await children.run(partial(without_descriptors, partial(str, sent)), str))[0] == sent


async def test_errors_come_back_as_they_are(children: Children) -> None:
    for _ in range(2):
        with pytest.raises(NotFound, match="it is gone"):
            await children.run(partial(fail, "it is gone"), type(None))
        with pytest.raises(Unavailable, match="a step of the launcher failed at /there: no such thing"):
            await children.run(partial(fail, ""), type(None))


async def test_step_that_takes_too_long_is_ended_and_the_next_is_done(children: Children) -> None:
    await pid_of(children)
    late = ready(children)
    with pytest.raises(Unavailable, match=r"more than 0\.05 s"):
        await children.run(partial(without_descriptors, hang), int, timeout_s=0.05)
    assert await pid_of(children) != late


async def test_child_that_was_killed_while_it_waited_is_replaced(children: Children) -> None:
    await pid_of(children)
    killed = ready(children)
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(5):
        while Path(f"/proc/{killed}").exists() and "Z" not in Path(f"/proc/{killed}/stat").read_text():
            await asyncio.sleep(0.01)
    assert await pid_of(children) != killed


async def test_child_that_stands_ready_ends_when_its_parent_does() -> None:
    """The parent's end of the socket is the parent's alone."""
    children, others = Children(), Children()
    await pid_of(children)
    await pid_of(others)
    waiting = children._ready
    assert waiting is not None
    waiting.sock.close()
    async with asyncio.timeout(5):
        await asyncio.to_thread(os.waitid, os.P_PIDFD, waiting.process, os.WEXITED | os.WNOWAIT)
    children._ready = None
    os.close(waiting.process)
    os.waitpid(waiting.pid, 0)
    children.close()
    others.close()
