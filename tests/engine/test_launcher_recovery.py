"""Does the launcher get over broken records, an engine that is away, and containers that nobody knows?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eleagent.errors import EngineUnavailable
from eleagent_daemon.domain.launch import Notice
from eleagent_daemon.domain.sandbox import Doors, Phase, Placement, SandboxSpec
from eleagent_daemon.kernel.child import Children
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.launcher.record import Record
from eleagent_daemon.launcher.sandbox import LiveSandbox
from eleagent_daemon.launcher.sandboxes import Sandboxes
from eleagent_daemon.launcher.sources import Sources
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.runtime.fake import FakeEngine, FakeRuntime
from eleagent_daemon.runtime.seam import Sandbox

FIRST, SECOND = "s-aaaaaaaaaa", "s-bbbbbbbbbb"


@dataclass
class Bench:
    """A launcher's inside on plain processes, as another launcher left it."""

    root: Path
    notices: list[Notice] = field(default_factory=list)
    tasks: Tasks = field(default_factory=Tasks)

    def __post_init__(self) -> None:
        self.engine = FakeEngine(self.root / "engine", images={"image"})
        self.engine.folder.mkdir()
        self.runtime = FakeRuntime(engine=self.engine, installation="here")
        self.places = Places(self.root / "launcher")
        self.places.root.mkdir()
        self.programs = Programs(installation="here", alive=self.root / "watched", tasks=self.tasks)
        self.sandboxes = Sandboxes(
            places=self.places,
            runtime=self.runtime,
            sources=Sources(own_folders=()),
            programs=self.programs,
            tasks=self.tasks,
            children=Children(),
            installation="here",
            reader_group=os.getgid(),
            notify=self.notices.append,
        )

    async def leave(self, session: str, *argv: str, released: bool = False) -> Record:
        """A sandbox that was made, with its record; it waits at its gate."""
        spec = SandboxSpec(
            session=session,
            installation="here",
            attempt=1,
            image="image",
            argv=argv or ("true",),
            env={},
            uid=10001,
            stdin=True,
            doors=Doors(),
        )
        made = await self.runtime.create(spec, Placement({}, {}))
        await self.runtime.start(made)
        record = Record(spec=spec, sandbox_id=made.id, placement=Placement({}, {}), released=released, opened=released)
        self.places.folder(session).mkdir()
        record.save(self.places.folder(session))
        return record

    def sandbox(self, record: Record) -> LiveSandbox:
        folder = self.places.folder(record.spec.session)
        return LiveSandbox(
            record=record,
            folder=folder,
            manifest=self.places.manifest(record.spec.session),
            runtime=self.runtime,
            spool=SpoolWriter(folder=folder / "spool", group=os.getgid()),
            programs=self.programs,
            tasks=self.tasks,
            children=Children(),
            notify=self.notices.append,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.engine.down = False
    await bench.sandboxes.close()
    await bench.tasks.close()
    for name in list(bench.engine.held):
        await bench.runtime.remove(name)


async def test_recovery_of_one_broken_session_stops_no_other(bench: Bench) -> None:
    await bench.leave(FIRST)
    (bench.places.folder(FIRST) / "spool").touch()  # no folder: it can't be opened
    await bench.leave(SECOND)
    await bench.sandboxes.recover()
    assert bench.sandboxes.find(FIRST) is None
    assert (await bench.sandboxes.get(SECOND).inspect()).status.phase is Phase.RUNNING


async def test_recovery_clears_a_torn_record_with_its_container(bench: Bench) -> None:
    record = await bench.leave(FIRST)
    (bench.places.folder(FIRST) / "record.json").write_bytes(b"")
    bench.engine.down = True
    await bench.sandboxes.recover()
    with pytest.raises(EngineUnavailable):
        await bench.sandboxes.remove(FIRST, forget=True)
    bench.engine.down = False
    assert record.spec.name in bench.engine.held
    await bench.sandboxes.remove(FIRST, forget=True)
    assert bench.engine.held == {}
    assert bench.places.sessions() == []


async def test_removal_that_failed_half_way_can_be_asked_for_again(bench: Bench) -> None:
    await bench.leave(FIRST)
    await bench.sandboxes.recover()
    bench.engine.down = True
    with pytest.raises(EngineUnavailable):
        await bench.sandboxes.remove(FIRST, forget=True)
    bench.engine.down = False
    assert [entry.session for entry in (await bench.sandboxes.listing()).entries] == [FIRST]
    for _ in range(2):
        await bench.sandboxes.remove(FIRST, forget=True)
    assert (await bench.sandboxes.listing()).entries == []
    assert (bench.engine.held, bench.places.sessions(), bench.sandboxes.any_alive) == ({}, [], False)


async def test_containers_without_a_record_are_removed_when_they_are_old(bench: Bench) -> None:
    known, stray = await bench.leave(FIRST), await bench.leave(SECOND)
    await bench.sandboxes.recover()
    await bench.sandboxes.get(SECOND).close()
    other = Sandboxes(
        places=Places(bench.root / "other"),
        runtime=bench.runtime,
        sources=Sources(own_folders=()),
        programs=bench.programs,
        tasks=bench.tasks,
        children=Children(),
        installation="here",
        reader_group=os.getgid(),
        notify=bench.notices.append,
    )
    (bench.root / "other").mkdir()
    other.find(FIRST)
    (bench.root / "other" / FIRST).mkdir()
    await other.remove_strays()
    assert set(bench.engine.held) == {known.spec.name, stray.spec.name}
    for held in bench.engine.held.values():
        held.made -= 61
    await other.remove_strays()
    assert set(bench.engine.held) == {known.spec.name}


async def test_sandbox_that_has_exited_is_draining_until_its_output_is_spooled(bench: Bench) -> None:
    record = await bench.leave(FIRST)
    _, channel = await bench.runtime.attach(record.sandbox)
    await channel.write(b"go\n")
    assert (await bench.runtime.wait(record.sandbox)).phase is Phase.EXITED
    sandbox = bench.sandbox(record)
    inspected = await sandbox.inspect()
    assert (inspected.status.phase, inspected.draining) == (Phase.RUNNING, True)
    await sandbox.recover()
    async with asyncio.timeout(5):
        while sandbox.alive:
            await asyncio.sleep(0.01)
    inspected = await sandbox.inspect()
    assert (inspected.status.phase, inspected.draining) == (Phase.EXITED, False)
    await sandbox.close()


async def test_kill_is_tried_until_the_engine_is_back(bench: Bench) -> None:
    record = await bench.leave(FIRST)
    sandbox = bench.sandbox(record)
    await sandbox.recover()
    bench.engine.down = True
    with pytest.raises(EngineUnavailable):
        await sandbox.stop(0.0)
    await asyncio.sleep(0.05)
    bench.engine.down = False
    async with asyncio.timeout(5):
        assert (await bench.runtime.wait(Sandbox(record.spec.name, ""))).phase is Phase.EXITED
    await sandbox.close()


async def test_sandbox_that_can_not_be_attested_is_told_of_after_the_third_time(bench: Bench) -> None:
    sandbox = bench.sandbox(await bench.leave(FIRST, released=True))
    await sandbox.recover()
    bench.engine.down = True
    for _ in range(2):
        await sandbox.watch()
    assert [notice for notice in bench.notices if notice.violation] == []
    await sandbox.watch()
    (told,) = [notice.violation for notice in bench.notices if notice.violation]
    assert told[0].startswith("it could not be attested 3 times in a row: no container engine")
    await sandbox.close()
