from __future__ import annotations

import json

from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.sandbox import Doors, Limits, Placement, SandboxSpec
from eleagent_daemon.runtime.docker_render import render

SPEC = SandboxSpec(
    session="s-aaaaaaaaaa",
    installation="i",
    attempt=2,
    image="sha256:abc",
    argv=("prog", "a b"),
    env={"HOME": "/home/agent", "X": "1=2"},
    uid=10007,
    stdin=True,
    doors=Doors(),
    limits=Limits(memory_bytes=1 << 30, cpus=1.5, pids=99, nofile=123, tmp_bytes=1 << 20, run_bytes=2 << 20),
)
PLACEMENT = Placement({"/workspace": "/m/w"}, {"/data/x": "/m/d"}, terminals="/m/pts")
BODY = render(SPEC, PLACEMENT)
HOST = BODY["HostConfig"]


def test_render_runs_the_gate_as_the_sandboxs_user() -> None:
    assert BODY["Cmd"] == list(SPEC.gate())
    assert BODY["Entrypoint"] == []
    assert BODY["User"] == "10007:10007"
    assert (BODY["OpenStdin"], BODY["StdinOnce"], BODY["Tty"]) == (True, False, False)
    assert BODY["Env"] == ["HOME=/home/agent", "X=1=2"]
    assert BODY["Labels"]["io.eleagent.attempt"] == "2"


def test_render_asks_for_every_confinement_by_name() -> None:
    assert HOST["CapDrop"] == ["ALL"]
    assert HOST["SecurityOpt"] == ["no-new-privileges", f"seccomp={seccomp.load().oci}"]
    assert HOST["NetworkMode"] == "none"
    assert HOST["ReadonlyRootfs"] is True
    assert HOST["IpcMode"] == HOST["CgroupnsMode"] == "private"
    assert HOST["RestartPolicy"] == {"Name": "no"}
    assert HOST["Sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "1024"}
    assert HOST["Init"] is True


def test_render_sets_every_limit_of_the_spec() -> None:
    assert HOST["Memory"] == HOST["MemorySwap"] == 1 << 30
    assert HOST["NanoCpus"] == 1_500_000_000
    assert HOST["PidsLimit"] == 99
    assert {limit["Name"]: limit["Hard"] for limit in HOST["Ulimits"]} == {"nofile": 123, "core": 0}
    assert HOST["Tmpfs"]["/tmp"] == f"rw,noexec,nosuid,nodev,nr_inodes=100000,size={1 << 20},mode=1777"
    assert (
        HOST["Tmpfs"]["/run"] == f"rw,noexec,nosuid,nodev,nr_inodes=100000,size={2 << 20},mode=0755,uid=10007,gid=10007"
    )


def test_render_binds_what_was_placed_and_nothing_else() -> None:
    private = {"Propagation": "rprivate"}
    assert HOST["Mounts"] == [
        {"Type": "bind", "Source": "/m/w", "Target": "/workspace", "ReadOnly": False, "BindOptions": private},
        {"Type": "bind", "Source": "/m/d", "Target": "/data/x", "ReadOnly": True, "BindOptions": private},
        {"Type": "bind", "Source": "/m/pts", "Target": "/dev/pts", "ReadOnly": False, "BindOptions": private},
    ]
    assert "Binds" not in HOST


def test_render_keeps_output_in_a_log_that_the_engine_knows() -> None:
    assert HOST["LogConfig"]["Type"] == "local"
    assert render(SPEC, PLACEMENT, podman=True)["HostConfig"]["LogConfig"]["Type"] == "k8s-file"


def test_render_is_json() -> None:
    assert json.loads(json.dumps(BODY)) == BODY
