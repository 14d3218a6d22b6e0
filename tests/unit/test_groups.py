"""Which control groups does a runtime without an engine find and make? On trees like the kernel's of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eleagent_daemon.domain.sandbox import Limits
from eleagent_daemon.runtime.groups import Groups

LIMITS = Limits(memory_bytes=1 << 20, cpus=1.5, pids=9)
as_person = pytest.mark.skipif(os.getuid() == 0, reason="is about who is not root")


def process(tmp_path: Path, mounts: list[tuple[Path, str, str]], membership: str) -> Path:
    proc = tmp_path / "proc"
    proc.mkdir()
    lines = [
        f"{at} 1 0:{at} / {target} rw - {kind} {kind} {words}\n" for at, (target, kind, words) in enumerate(mounts, 20)
    ]
    (proc / "mountinfo").write_text("".join(lines))
    (proc / "cgroup").write_text(membership)
    return proc


def files(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("")


def test_groups_of_version_1_are_one_a_controller(tmp_path: Path) -> None:
    mounts = [(tmp_path / name, "cgroup", f"rw,{name}") for name in ("memory", "pids", "cpu", "freezer", "blkio")]
    for top, _, _ in mounts:
        top.mkdir()
    groups = Groups.find(process(tmp_path, mounts, ""))
    assert set(groups.parents) == {"memory", "pids", "cpu", "freezer"}
    group = tmp_path / "memory" / "eleagent" / "box"
    files(group, "memory.limit_in_bytes", "cgroup.procs")
    files(tmp_path / "pids" / "eleagent" / "box", "pids.max")
    files(tmp_path / "cpu" / "eleagent" / "box", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    joins = groups.make("box", LIMITS)
    assert {join.parent.parent.parent.name for join in joins} == set(groups.parents)
    assert (group / "memory.limit_in_bytes").read_text() == "1048576"
    assert not (group / "memory.memsw.limit_in_bytes").exists()
    assert (tmp_path / "pids" / "eleagent" / "box" / "pids.max").read_text() == "9"
    assert (tmp_path / "cpu" / "eleagent" / "box" / "cpu.cfs_quota_us").read_text() == "150000"


def version_2(tmp_path: Path, controllers: str = "cpu memory pids io") -> tuple[Groups, Path]:
    top = tmp_path / "unified"
    own = top / "own"
    files(own, "cgroup.procs", "cgroup.subtree_control")
    (top / "cgroup.subtree_control").write_text("")
    for folder in (top, own):
        (folder / "cgroup.controllers").write_text(controllers)
    return Groups.find(process(tmp_path, [(top, "cgroup2", "rw")], "0::/own\n")), top


@pytest.mark.skipif(os.getuid() != 0, reason="is about root")
def test_groups_of_version_2_lie_at_the_top_for_root(tmp_path: Path) -> None:
    groups, top = version_2(tmp_path)
    assert groups.parents == dict.fromkeys(("memory", "pids", "cpu"), top / "eleagent")
    files(top / "eleagent" / "box", "memory.max", "memory.swap.max", "pids.max", "cpu.max")
    (top / "eleagent" / "cgroup.subtree_control").write_text("")
    assert groups.make("box", LIMITS) == [top / "eleagent" / "box" / "cgroup.procs"]
    assert (top / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    found = {path.name: path.read_text() for path in (top / "eleagent" / "box").iterdir()}
    assert found == {"memory.max": "1048576", "memory.swap.max": "0", "pids.max": "9", "cpu.max": "150000 100000"}


@as_person
def test_groups_of_version_2_lie_in_what_was_delegated(tmp_path: Path) -> None:
    groups, top = version_2(tmp_path)
    assert groups.parents == dict.fromkeys(("memory", "pids", "cpu"), top / "own")


def test_groups_that_are_not_there_limit_nothing(tmp_path: Path) -> None:
    assert Groups.find(process(tmp_path, [], "")).parents == {}
    assert Groups({}, unified=True).make("box", LIMITS) == []
    assert not Groups({}, unified=True).freeze("box", frozen=True)
    assert not Groups({}, unified=False).killed("box")
    Groups({}, unified=False).remove("box")


def test_groups_tell_of_a_kill_at_the_memory_limit(tmp_path: Path) -> None:
    for unified, name, text in (
        (True, "memory.events", "low 0\noom 1\noom_kill {}\n"),
        (False, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    ):
        groups = Groups({"memory": tmp_path / str(unified)}, unified=unified)
        files(tmp_path / str(unified) / "box")
        for kills in (0, 2):
            (tmp_path / str(unified) / "box" / name).write_text(text.format(kills))
            assert groups.killed("box") == (kills > 0)
