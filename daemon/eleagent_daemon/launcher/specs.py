"""Which descriptions of a sandbox does the launcher take, from a daemon that may have been taken over?"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from eleagent.errors import BadRequest
from eleagent.wire.sessions import KEY_PATTERN
from eleagent_daemon.domain.sandbox import (
    DATA_DIR,
    MODEL_PORT,
    POOL_FIRST_UID,
    POOL_SIZE,
    SESSION_PORT,
    TUNNEL_PORT,
    WORKSPACE_DIR,
    DataMount,
    Doors,
    Limits,
    SandboxSpec,
)

_IMAGE: Final = re.compile(r"sha256:[0-9a-f]{64}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_BYTES: Final = 255
"""NAME_MAX of the kernel."""
_MOST: Final = Limits(
    memory_bytes=1 << 46,
    cpus=8192.0,
    pids=1 << 22,
    nofile=1 << 20,
    tmp_bytes=1 << 46,
    run_bytes=1 << 46,
    disk_bytes=1 << 44,
    disk_inodes=(1 << 32) - 1,
)
"""Beyond these no host goes: pid_max and nr_open of the kernel, ext4 with blocks of 4 KiB; a limit above is none."""


def check(spec: SandboxSpec, *, installation: str) -> None:
    """Raises BadRequest, saying what is wrong and with what value."""
    if not re.fullmatch(KEY_PATTERN, spec.session):
        raise BadRequest(f"{spec.session!r} is no session key")
    if spec.installation != installation:
        raise BadRequest(f"installation {spec.installation!r} is not this launcher's, {installation!r}")
    if spec.attempt < 1:
        raise BadRequest(f"attempt {spec.attempt}: attempts count from 1")
    if not POOL_FIRST_UID <= spec.uid < POOL_FIRST_UID + POOL_SIZE:
        raise BadRequest(f"uid {spec.uid} is none of the sandboxes' ({POOL_FIRST_UID} and up)")
    if not _IMAGE.fullmatch(spec.image):
        raise BadRequest(f"image {spec.image!r} is no content digest (sha256:…)")
    if spec.workdir != WORKSPACE_DIR:
        raise BadRequest(f"workdir {spec.workdir!r} is not {WORKSPACE_DIR}")
    ours = Doors(tunnel=TUNNEL_PORT, model=MODEL_PORT, session=SESSION_PORT).ports()
    if not spec.doors.ports().items() <= ours.items():
        raise BadRequest(f"doors {spec.doors.ports()} are not some of {ours}")
    if spec.disk_of and (not re.fullmatch(KEY_PATTERN, spec.disk_of) or spec.disk_of == spec.session):
        raise BadRequest(f"disk_of {spec.disk_of!r} is no other session's key")
    _check_program(spec)
    _check_limits(spec.limits)
    _check_targets(spec.data)


def _check_program(spec: SandboxSpec) -> None:
    if not spec.argv or not spec.argv[0]:
        raise BadRequest("argv is empty: there is nothing to run")
    for name in spec.env:
        if not _VARIABLE.fullmatch(name):
            raise BadRequest(f"{name!r} is no name of an environment variable")
    if any("\0" in text for text in (*spec.argv, *spec.env.values())):
        raise BadRequest("argv or the environment holds a NUL, which no program can be given")


def _check_limits(limits: Limits) -> None:
    for name, most in msgspec.structs.asdict(_MOST).items():
        value = getattr(limits, name)
        if not 0 < value <= most:
            raise BadRequest(f"limits.{name} is {value}: it must be more than 0 and at most {most}")


def _check_targets(data: tuple[DataMount, ...]) -> None:
    targets = [mount.target for mount in data]
    names = [target.removeprefix(f"{DATA_DIR}/") for target in targets]
    distinct = len(set(targets)) == len(targets) and all(
        _is_name(name) and f"{DATA_DIR}/{name}" == target for name, target in zip(names, targets, strict=True)
    )
    if not distinct and targets != [DATA_DIR]:
        raise BadRequest(f"data targets {targets} are neither {DATA_DIR} alone nor different names in it")


def _is_name(name: str) -> bool:
    """A name that a folder can hold."""
    size = len(name.encode(errors="surrogateescape"))
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name) and size <= _NAME_BYTES
