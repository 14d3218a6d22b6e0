"""Is every observation of a sandbox told or counted, and is none of them the end of a disk?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from eleagent.wire.observations import ObservationGap, ObservationStarted, Observer, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent_daemon.domain.observed import pack, unpack
from eleagent_daemon.domain.sandbox import SPARE_ARGV
from eleagent_daemon.domain.spool import Stream
from eleagent_daemon.launcher.observe.seen import OTHERS, TOLD_APART, Seen
from eleagent_daemon.launcher.spool import SpoolWriter
from eleagent_daemon.store.spoolreader import SpoolReader


def execution(exe: str = "/bin/true", *argv: str) -> ProgramExecuted:
    return ProgramExecuted(at="2026-01-01T00:00:00.000Z", pid=7, ppid=6, exe=exe, argv=list(argv) or [exe])


class Bench:
    def __init__(self, folder: Path, **options: int) -> None:
        self.spool = SpoolWriter(folder=folder, group=os.getgid(), **options)
        self.written = 0
        self.seen = Seen(spool=self.spool, written=self._count)
        self.folder = folder

    def _count(self) -> None:
        self.written += 1

    def told(self) -> list[Payload]:
        reader, found = SpoolReader(folder=self.folder, offset=0), []
        while frames := reader.read():
            found += [one for frame in frames if frame.stream is Stream.SEEN for one in unpack(frame.payload)]
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


def test_seen_takes_nothing_before_it_has_begun(bench: Bench) -> None:
    bench.seen.executed(execution("/gate"))
    bench.seen.flush()
    bench.seen.begin(Observer.AUDIT, "")
    bench.seen.begin(Observer.AUDIT, "")
    bench.seen.executed(execution("/agent"))
    bench.seen.end()
    bench.seen.end()
    bench.seen.executed(execution("/after"))
    bench.seen.flush()
    assert bench.told() == [ObservationStarted(programs=Observer.AUDIT), execution("/agent")]
    assert bench.written == 2


def test_seen_leaves_out_the_first_program_alone_where_a_spare_becomes_the_agent(bench: Bench) -> None:
    bench.seen.begin(Observer.AUDIT, "")
    for _ in range(2):
        bench.seen.executed(execution("/bin/sh", *SPARE_ARGV))
    bench.seen.end()
    assert bench.told()[1:] == [execution("/bin/sh", *SPARE_ARGV)]


def test_seen_counts_a_flood_by_program_and_loses_none(bench: Bench) -> None:
    burst, seen = 500, Seen(spool=bench.spool, written=lambda: None, burst=500, per_s=0)
    seen.begin(Observer.AUDIT, "")
    for _ in range(burst):
        seen.executed(execution("/bin/first"))
    for number in range(TOLD_APART + 50):
        seen.executed(execution(f"/bin/{number}"))
        seen.executed(execution("/bin/0", "again", str(number)))
    seen.tick()
    one_by_one, later = bench.told()[1 : burst + 1], bench.told()[burst + 1 :]
    assert {one.exe for one in one_by_one if isinstance(one, ProgramExecuted)} == {"/bin/first"}
    assert [(one.exe, one.count, one.argv) for one in later if isinstance(one, ProgramExecuted)] == [
        ("/bin/0", TOLD_APART + 51, ["again", str(TOLD_APART + 49)])
    ], "a tick tells of one program"
    seen.end()
    counts = {one.exe: one.count for one in bench.told()[burst + 1 :] if isinstance(one, ProgramExecuted)}
    assert sum(counts.values()) == 2 * (TOLD_APART + 50)
    assert counts[OTHERS] == 50
    assert len(counts) == TOLD_APART + 1


def test_seen_counts_long_arguments_for_several(bench: Bench) -> None:
    seen = Seen(spool=bench.spool, written=lambda: None, burst=10, per_s=0)
    seen.begin(Observer.AUDIT, "")
    for _ in range(4):
        seen.executed(execution("/bin/x", "x" * 4096))
    seen.end()
    assert [one.count for one in bench.told() if isinstance(one, ProgramExecuted)] == [1, 1, 2]


def test_seen_splits_what_is_too_much_for_a_frame(bench: Bench) -> None:
    bench.seen.begin(Observer.AUDIT, "")
    large = [execution("/bin/x", "\x01" * 32_000) for _ in range(20)]
    bench.seen.tell(*large)
    assert bench.told()[1:] == large


def test_seen_says_what_a_full_spool_cost(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool", cap_bytes=2000)
    bench.seen.begin(Observer.AUDIT, "")
    while not bench.spool.full:
        bench.seen.executed(execution())
        bench.seen.flush()
    kept = len(bench.told())
    for _ in range(5):
        bench.seen.executed(execution())
    bench.seen.flush()
    assert len(bench.told()) == kept
    bench.spool.consumed(bench.spool.end)
    bench.spool.lift_cap()
    bench.seen.executed(execution("/later"))
    bench.seen.end()
    gap, later = bench.told()[kept:]
    assert isinstance(gap, ObservationGap)
    assert (gap.missed, "spool was full" in gap.what) == (5, True)
    assert later == execution("/later")


def test_seen_says_what_a_full_disk_cost(bench: Bench) -> None:
    bench.seen.begin(Observer.AUDIT, "")
    append = bench.spool.append

    def refuse(stream: Stream, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bench.spool.append = refuse  # type: ignore[method-assign]
    bench.seen.tell(execution(), msgspec.structs.replace(execution(), count=4))
    bench.spool.append = append  # type: ignore[method-assign]
    bench.seen.end()
    bench.seen.tell(execution("/later"))
    (_, gap, _) = bench.told()
    assert isinstance(gap, ObservationGap)
    assert gap.missed == 5


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'[{"type":"session.ended","data":{}}]', b'[{"type":"program.executed"}]']
)
def test_observations_that_no_launcher_packed_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(data)


def test_observations_come_back_as_they_were() -> None:
    some = [ObservationStarted(programs=Observer.NOTHING, why="no root"), execution("/b", "\\xff", "ü")]
    assert unpack(pack(some)) == some
