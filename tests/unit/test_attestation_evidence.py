from __future__ import annotations

import os
from pathlib import Path

import pytest

from eleagent.errors import NotFound
from eleagent_daemon.domain.confinement import TCP_BYTES
from eleagent_daemon.domain.limits import Resources
from eleagent_daemon.domain.sandbox import Doors, SandboxSpec
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.launcher.evidence import collect
from eleagent_daemon.launcher.limits import cgroup_limits, limit_tcp, resources, rlimits

SPEC = SandboxSpec(
    session="s-aaaaaaaaaa", installation="i", attempt=1, image="", argv=(), env={}, uid=10001, stdin=False,
    doors=Doors(tunnel=328, model=810),
)  # fmt: skip


def test_mountinfo_is_unescaped_and_tells_what_is_shared() -> None:
    plain, shared = mountinfo.parse(
        "36 35 98:0 / /data/a\\040b\\134c ro,nosuid - ext3 /dev/root rw,errors=continue\n"
        "37 35 98:0 /x /y rw shared:1 master:2 - tmpfs none rw\n"
    )
    assert (plain.target, plain.options, plain.fstype, plain.shared) == (
        "/data/a b\\c",
        ("ro", "nosuid"),
        "ext3",
        False,
    )
    assert (shared.root, shared.shared) == ("/x", True)


def test_rlimits_are_the_hard_ones() -> None:
    text = (
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max core file size        0                    0                    bytes     \n"
        "Max processes             unlimited            unlimited            processes \n"
        "Max open files            1024                 4096                 files     \n"
    )
    assert rlimits(text) == {"Max core file size": 0, "Max open files": 4096}


def _proc(tmp_path: Path, mounts: str, membership: str, files: dict[str, str]) -> Path:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "9").mkdir()
    (proc / "self/mountinfo").write_text(mounts.replace("ROOT", str(tmp_path)))
    (proc / "9/cgroup").write_text(membership)
    (proc / "swaps").write_text("Filename Type Size Used Priority\n")
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return proc


def test_cgroup_limits_of_version_2(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "1 0 0:1 / ROOT/cg rw - cgroup2 cgroup rw\n",
        "0::/a/b\n",
        {
            "cg/a/b/memory.max": "1024\n",
            "cg/a/b/memory.swap.max": "0\n",
            "cg/a/b/cpu.max": "150000 100000\n",
            "cg/a/b/pids.max": "7\n",
        },
    )
    limits = cgroup_limits(9, proc)
    assert limits.memory_tcp_bytes == 1024
    assert (limits.memory_bytes, limits.memory_swap_bytes, limits.cpus, limits.pids) == (1024, 1024, 1.5, 7)


USED = {"memory_bytes": 700, "memory_limit_bytes": 1024, "pids": 6, "pids_limit": 7, "killed": 2, "refused": 3}
USED |= {"cpu_s": 12.5, "cpus_limit": 1.5}


def test_resources_of_version_2(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "1 0 0:1 / ROOT/cg rw - cgroup2 cgroup rw\n",
        "0::/a\n",
        {
            "cg/a/cpu.stat": "usage_usec 12500000\nuser_usec 1\n",
            "cg/a/cpu.max": "150000 100000\n",
            "cg/a/memory.max": "1024\n",
            "cg/a/memory.current": "900\n",
            "cg/a/memory.stat": "anon 700\ninactive_file 200\n",
            "cg/a/memory.events": "low 0\noom 4\noom_kill 2\n",
            "cg/a/pids.max": "7\n",
            "cg/a/pids.current": "6\n",
            "cg/a/pids.events": "max 3\n",
        },
    )
    assert resources(9, None, proc) == Resources(**USED)
    assert resources(8, None, proc) == resources(0, None, proc) == Resources(), "it has ended"
    disk = resources(0, tmp_path)
    assert 0 < disk.disk_bytes < disk.disk_limit_bytes
    assert not disk.full


def test_resources_of_version_1(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "1 0 0:1 / ROOT/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / ROOT/pids rw - cgroup cgroup rw,pids\n"
        "3 0 0:3 / ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
        "3:pids:/a\n2:memory:/a\n4:cpu,cpuacct:/a\n",
        {
            "cpu/a/cpuacct.usage": "12500000000\n",
            "cpu/a/cpu.cfs_quota_us": "150000\n",
            "cpu/a/cpu.cfs_period_us": "100000\n",
            "memory/a/memory.limit_in_bytes": "1024\n",
            "memory/a/memory.usage_in_bytes": "900\n",
            "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n",
            "memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "pids/a/pids.max": "7\n",
            "pids/a/pids.current": "6\n",
            "pids/a/pids.events": "max 3\n",
        },
    )
    assert resources(9, None, proc) == Resources(**USED)


def test_cgroup_limits_of_version_1_below_a_bound_root(tmp_path: Path) -> None:
    proc = _proc(
        tmp_path,
        "1 0 0:1 /docker ROOT/m rw - cgroup cgroup rw,memory\n2 0 0:2 / ROOT/c rw - cgroup cgroup rw,cpu,cpuacct\n",
        "3:memory:/docker/x\n2:cpu,cpuacct:/x\n1:pids:/x\n",
        {
            "m/x/memory.limit_in_bytes": "2048",
            "m/x/memory.memsw.limit_in_bytes": "9223372036854771712",
            "m/x/memory.kmem.tcp.limit_in_bytes": "9223372036854771712",
            "c/x/cpu.cfs_quota_us": "-1",
            "c/x/cpu.cfs_period_us": "100000",
        },
    )
    limits = cgroup_limits(9, proc)
    assert (limits.memory_bytes, limits.memory_tcp_bytes, limits.cpus, limits.pids) == (2048, None, None, None)
    limit_tcp("another", 9, proc)
    assert cgroup_limits(9, proc).memory_tcp_bytes is None
    limit_tcp("x", 9, proc)
    assert cgroup_limits(9, proc).memory_tcp_bytes == 2048 + TCP_BYTES


@pytest.mark.parametrize("membership", ["0::/../other\n", "0::/elsewhere\n"])
def test_cgroup_limits_that_lie_outside_what_is_mounted_are_none(tmp_path: Path, membership: str) -> None:
    proc = _proc(tmp_path, "1 0 0:1 /a ROOT/cg rw - cgroup2 cgroup rw\n", membership, {"cg/pids.max": "7"})
    assert cgroup_limits(9, proc).pids is None


@pytest.mark.parametrize("pids", [[], [2**22 + 5]])
def test_collect_of_a_sandbox_that_ended_raises_not_found(pids: list[int]) -> None:
    with pytest.raises(NotFound, match="has ended"):
        collect(sandbox_id="c", started_at="", pids=pids, spec=SPEC, engine={}, released=False, owner=SPEC.uid)


TCP = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def _listener(address: str, uid: int, state: str = "0A") -> str:
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid}        0 1 1 0\n"


@pytest.mark.parametrize(
    ("table", "released", "foreign"),
    [
        (_listener("0100007F:0148", 0), False, ()),
        (_listener("0100007F:032A", 0), True, ()),
        (_listener("00000000:0148", 0), True, ("tcp 0.0.0.0:328",)),
        (_listener("0100007F:1F90", 10001), True, ()),
        (_listener("0100007F:1F90", 10001), False, ("tcp 127.0.0.1:8080",)),
        (_listener("0100007F:1F90", 0), True, ("tcp 127.0.0.1:8080",)),
        (_listener("0100007F:0050", 10001), True, ("tcp 127.0.0.1:80",)),
        (_listener("0100007F:0050", 0, state="01"), True, ()),
    ],
)
def test_listeners_are_foreign_unless_doors_or_the_running_agents(
    tmp_path: Path, table: str, released: bool, foreign: tuple[str, ...]
) -> None:
    proc = tmp_path / "proc"
    own = Path("/proc/self")
    for name in (str(os.getpid()), "self"):
        (proc / name / "net").mkdir(parents=True)
        for file in ("stat", "status", "mountinfo", "limits", "cgroup"):
            (proc / name / file).write_text((own / file).read_text())
        (proc / name / "net/dev").write_text("a\nb\n    lo: 0 0\n")
        (proc / name / "net/route").write_text("Iface\n")
        (proc / name / "net/sockstat").write_text("sockets: used 9\nTCP: inuse 1 orphan 0\nUDP: inuse 0 mem 0\n")
        (proc / name / "net/tcp").write_text(TCP + table)
        (proc / name / "net/unix").write_text("Num\n")
        (proc / name / "root").symlink_to(tmp_path)
    evidence = collect(
        sandbox_id="c",
        started_at="",
        pids=[os.getpid()],
        spec=SPEC,
        engine={},
        released=released,
        owner=SPEC.uid,
        proc=proc,
    )
    assert evidence.foreign_listeners == foreign
    assert (evidence.net_devices, evidence.net_routes) == (("lo",), 0)
