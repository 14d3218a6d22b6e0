"""How long does a program take in a sandbox, against the same flags given to the docker command?"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from warm import ELEAGENT, Warm, paired

from eleagent_daemon.domain.sandbox import (
    ARTEFACTS_DIR,
    DATA_DIR,
    HOME_DIR,
    WORKSPACE_DIR,
    Doors,
    Placement,
    SandboxSpec,
)
from eleagent_daemon.domain.seccomp import load
from eleagent_daemon.launcher.identity import write_identity
from eleagent_daemon.runtime.docker_render import render
from eleagent_daemon.sessions.environment import base_environment

UID = 10001
ROUNDS = 15


def start_ratio(warm: Warm) -> tuple[float, str]:
    image = warm.agents["command"]["image_id"]
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-", dir="/var/tmp") as scratch:
        docker = docker_command(image, Path(scratch))
        return paired(lambda: seconds([ELEAGENT, "run", "-q", "--", "true"]), lambda: seconds(docker), rounds=ROUNDS)


def seconds(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def docker_command(image: str, scratch: Path) -> list[str]:
    """`docker run --rm` with what the docker runtime asks its engine for, taken from that very request."""
    writable = {}
    for target in (ARTEFACTS_DIR, WORKSPACE_DIR, HOME_DIR):
        folder = scratch / target.strip("/").replace("/", "-")
        folder.mkdir()
        os.chown(folder, UID, UID)
        writable[target] = str(folder)
    profile = scratch / "seccomp.json"
    profile.write_text(load().oci)
    doors = Doors()
    covers = scratch / "data"
    covers.mkdir()
    spec = SandboxSpec(
        session="s-bench", installation="bench", attempt=1, image=image, argv=("true",), env=base_environment(doors),
        uid=UID, stdin=False, doors=doors,
    )  # fmt: skip
    readonly = write_identity(scratch / "etc", UID) | {DATA_DIR: str(covers)}
    body = render(spec, Placement(writable=writable, readonly=readonly))
    return ["docker", "run", "--rm", "-i", *_flags(body, profile), "--entrypoint", "", image, "true"]


def _flags(body: dict[str, Any], profile: Path) -> Iterator[str]:
    host = body["HostConfig"]
    yield from (
        "--init",
        "--read-only",
        f"--user={body['User']}",
        f"--workdir={body['WorkingDir']}",
        "--no-healthcheck",
    )
    yield from (f"--env={variable}" for variable in body["Env"])
    yield from (
        f"--label={name}={value}" for name, value in body["Labels"].items() if not name.endswith("installation")
    )
    yield from (f"--cap-drop={name}" for name in host["CapDrop"])
    yield from ("--security-opt=no-new-privileges", f"--security-opt=seccomp={profile}")
    yield from (f"--network={host['NetworkMode']}", f"--ipc={host['IpcMode']}", f"--cgroupns={host['CgroupnsMode']}")
    yield from (f"--sysctl={name}={value}" for name, value in host["Sysctls"].items())
    yield from (f"--memory={host['Memory']}", f"--memory-swap={host['MemorySwap']}", f"--cpus={host['NanoCpus'] / 1e9}")
    yield from (
        f"--pids-limit={host['PidsLimit']}",
        f"--oom-score-adj={host['OomScoreAdj']}",
        f"--shm-size={host['ShmSize']}",
    )
    yield from (f"--ulimit={limit['Name']}={limit['Soft']}:{limit['Hard']}" for limit in host["Ulimits"])
    yield from (f"--tmpfs={target}:{options}" for target, options in host["Tmpfs"].items())
    for mount in host["Mounts"]:
        only = ",readonly" if mount["ReadOnly"] else ""
        yield f"--mount=type=bind,src={mount['Source']},dst={mount['Target']}{only}"
    yield f"--log-driver={host['LogConfig']['Type']}"
    yield from (f"--log-opt={name}={value}" for name, value in host["LogConfig"]["Config"].items())
