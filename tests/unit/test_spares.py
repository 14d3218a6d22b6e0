"""Who gets a sandbox that was made ahead, and what becomes of one that nobody gets?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from eleagent.errors import Conflict, EngineUnavailable
from eleagent_daemon.domain.launch import Create, Made, Remove
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE, Doors, SandboxSpec
from eleagent_daemon.sessions.spares import NOBODY, Spares
from eleagent_daemon.store.registry import Registry

LAST = POOL_FIRST_UID + POOL_SIZE - 1


@dataclass
class Launcher:
    """Makes what it is asked for once `go` is set; `down` says that it can't."""

    down: bool = False
    made: list[SandboxSpec] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()

    async def ask(self, verb: Any, expected: type[Any]) -> Any:
        if isinstance(verb, Remove):
            assert verb.forget
            return self.removed.append(verb.session)
        assert isinstance(verb, Create)
        await self.go.wait()
        if self.down:
            raise EngineUnavailable("the engine is away")
        self.made.append(verb.spec)
        return Made(sandbox_id="x", spool="")


@dataclass
class Bench:
    launcher: Launcher
    registry: Registry
    spares: Spares


@asynccontextmanager
async def running(path: Path, *, count: int = 2, keep_s: float = 60.0) -> AsyncIterator[Bench]:
    launcher, registry = Launcher(), await Registry.open(path / "registry.db")
    spares = Spares(launcher=cast(Any, launcher), registry=registry, count=count, keep_s=keep_s)
    task = asyncio.create_task(spares.run())
    try:
        yield Bench(launcher, registry, spares)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await registry.close()


def shape(image: str = "a") -> SandboxSpec:
    return SandboxSpec(
        session=NOBODY.key, installation="test", attempt=1, image=image, argv=("true",), env={}, uid=NOBODY.uid,
        stdin=False, doors=Doors(),
    ).spare()  # fmt: skip


async def settled(bench: Bench, made: int) -> None:
    async with asyncio.timeout(5):
        while len(bench.launcher.made) < made or bench.spares._making is not None:
            await asyncio.sleep(0.005)


async def test_spare_is_made_when_one_is_wanted_and_lent_once(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.spares.want(shape())
        await settled(bench, 1)
        (made,) = bench.launcher.made
        assert (made.is_spare, made.uid, {made.session}) == (True, LAST, bench.spares.keys)
        async with bench.spares.lend(shape("b")) as other:
            assert other is None
        async with bench.spares.lend(shape()) as lent, bench.spares.lend(shape()) as second:
            assert lent is not None
            assert (lent.key, lent.uid, second) == (made.session, made.uid, None)
            assert bench.spares.keys == {lent.key}, "nobody removes it meanwhile"
            bench.spares.spend(lent)
        assert bench.spares.keys == set()
        async with bench.spares.lend(shape()) as again:
            assert again is None


async def test_spare_comes_back_when_its_session_was_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.spares.want(shape())
        await settled(bench, 1)
        with pytest.raises(Conflict):
            async with bench.spares.lend(shape()):
                raise Conflict("the name is taken")
        async with bench.spares.lend(shape()) as lent:
            assert lent is not None


async def test_spare_that_is_being_made_is_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.launcher.go.clear()
        bench.spares.want(shape())
        async with asyncio.timeout(5):
            while bench.spares._making is None:
                await asyncio.sleep(0.001)
        async with bench.spares.lend(shape("b")) as other:
            assert other is None, "another shape waits for nothing"
        asyncio.get_running_loop().call_later(0.05, bench.launcher.go.set)
        async with bench.spares.lend(shape()) as lent:
            assert lent is not None


async def test_spares_are_no_more_than_wanted_and_the_oldest_goes(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        for number, image in enumerate("abca", 1):
            bench.spares.want(shape(image))
            await settled(bench, number)
        keys = {spec.image: spec.session for spec in bench.launcher.made}
        assert bench.launcher.removed == [spec.session for spec in bench.launcher.made[:2]]
        assert bench.spares.keys == {keys["c"], keys["a"]}
        await bench.spares.close()
        assert bench.spares.keys == set()
        assert set(bench.launcher.removed) == {spec.session for spec in bench.launcher.made}
        assert (await bench.registry.reserve()).uid == LAST, "users are free again"


async def test_spare_that_nobody_takes_is_removed(tmp_path: Path) -> None:
    async with running(tmp_path, keep_s=0.05) as bench:
        bench.spares.want(shape())
        await settled(bench, 1)
        async with asyncio.timeout(5):
            while bench.spares.keys:
                await asyncio.sleep(0.01)
        assert bench.launcher.removed == [bench.launcher.made[0].session]


async def test_spare_that_can_not_be_made_is_nobody_s_trouble(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.launcher.down = True
        bench.spares.want(shape())
        async with asyncio.timeout(5):
            while not bench.launcher.removed:
                await asyncio.sleep(0.005)
        bench.launcher.down = False
        bench.spares.want(shape())
        await settled(bench, 1)
        assert (bench.launcher.made[0].uid, len(bench.spares.keys)) == (LAST, 1)


async def test_no_spare_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    async with running(tmp_path, count=0) as bench:
        bench.spares.want(shape())
        await asyncio.sleep(0.05)
        assert (bench.launcher.made, bench.spares.keys) == ([], set())
