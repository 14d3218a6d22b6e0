"""What does one sandbox spec mean to a Docker engine? The body of POST /containers/create (Engine API 1.41)."""

from __future__ import annotations

from typing import Any, Final

from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.confinement import MASKED_PATHS, READONLY_PATHS, SHM_BYTES
from eleagent_daemon.domain.sandbox import UNPRIVILEGED_PORT_START, Placement, SandboxSpec

_OOM_SCORE: Final = 500
_TMPFS_INODES: Final = 100_000

_DOCKER_LOG: Final = {"Type": "local", "Config": {"max-size": "16m", "max-file": "2", "compress": "false"}}
_PODMAN_LOG: Final = {"Type": "k8s-file", "Config": {"max-size": "16m"}}
"""What was written while no launcher read; `local` keeps bytes as they were, json-file does not."""


def render(spec: SandboxSpec, placement: Placement, *, podman: bool = False) -> dict[str, Any]:
    """Every control asked for by name: an engine's default is not a constant. Pure."""
    limits = spec.limits
    tmpfs = f"rw,noexec,nosuid,nodev,nr_inodes={_TMPFS_INODES}"
    return {
        "Image": spec.image,
        "Entrypoint": [],
        "Cmd": list(spec.gate()),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "WorkingDir": spec.workdir,
        "User": f"{spec.uid}:{spec.uid}",
        "Labels": spec.labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "Tty": False,
        "OpenStdin": True,
        "StdinOnce": False,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "Privileged": False,
            "CapAdd": [],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp.load().oci}"],
            "ReadonlyRootfs": True,
            "NetworkMode": "none",
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "PidMode": "",
            "UTSMode": "",
            "Devices": [],
            "MaskedPaths": list(MASKED_PATHS),
            "ReadonlyPaths": list(READONLY_PATHS),
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": str(UNPRIVILEGED_PORT_START)},
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_bytes,
            "NanoCpus": round(limits.cpus * 1e9),
            "PidsLimit": limits.pids,
            "OomScoreAdj": _OOM_SCORE,
            "Ulimits": [_ulimit("nofile", limits.nofile), _ulimit("core", 0)],
            "ShmSize": SHM_BYTES,
            "Tmpfs": {
                "/tmp": f"{tmpfs},size={limits.tmp_bytes},mode=1777",  # noqa: S108 - inside the sandbox
                # runc gives a tmpfs the mode of the image's folder, unless somebody owns it.
                "/run": f"{tmpfs},size={limits.run_bytes},mode=0755,uid={spec.uid},gid={spec.uid}",
            },
            "Mounts": [
                *(_bind(target, source, readonly=False) for target, source in placement.writable.items()),
                *(_bind(target, source, readonly=True) for target, source in placement.readonly.items()),
                *([_bind("/dev/pts", placement.terminals, readonly=False)] if placement.terminals else []),
            ],
            "LogConfig": _PODMAN_LOG if podman else _DOCKER_LOG,
        },
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _bind(target: str, source: str, *, readonly: bool) -> dict[str, Any]:
    # An engine makes what a "volume" names and is missing; a bind to a missing source is refused.
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": readonly,
        "BindOptions": {"Propagation": "rprivate"},
    }
