"""How does a spare learn at last what to run? From a script, bound read-only into it, that the launcher fills in."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from eleagent_daemon.domain.sandbox import START_FILE, SandboxSpec

_NAME = "start"


def lay_start(folder: Path, gid: int | None) -> dict[str, str]:
    """A script in `folder` that runs nothing; returns what to bind read-only, target → source.

    It is for the sandbox's group `gid` alone, or for its owner where that is the sandbox's user: the environment that
    it will hold is not for other users of the host.
    """
    start = folder / _NAME
    start.touch(mode=0o600)
    if gid is not None:
        os.chown(start, -1, gid)
        start.chmod(0o640)
    start.write_text("exit 125\n")
    return {START_FILE: str(start)}


def write_start(folder: Path, spec: SandboxSpec) -> None:
    """Fill the script in for `spec`. The very file that is bound is written: a new one would not be seen inside."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in spec.env.items()]
    lines.append(f"exec {shlex.join(spec.argv)}" + ("" if spec.stdin else " </dev/null"))
    (folder / _NAME).write_bytes("\n".join([*lines, ""]).encode(errors="surrogateescape"))
