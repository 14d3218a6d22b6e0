"""Has the daemon ended that was told to?"""

from __future__ import annotations

import os
import time
from typing import Final

from eleagent.errors import EleAgentError
from eleagent.wire.system import Stopping

PATIENCE_S: Final = 30.0
_TICK_S: Final = 0.05


def await_end(stopping: Stopping) -> None:
    """Wait until its process, which is of this machine, has gone. Raises EleAgentError when it stays."""
    until = time.monotonic() + PATIENCE_S
    while not _is_gone(stopping.pid):
        if time.monotonic() > until:
            raise EleAgentError(
                f"the daemon was told to end and is still there after {PATIENCE_S:g} s (pid {stopping.pid}):"
                " look into its log, and kill it if need be"
            )
        time.sleep(_TICK_S)


def _is_gone(pid: int) -> bool:
    """A process that nobody has reaped yet does nothing any more."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  # a path is all that pathlib would be imported for
            return stat.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return not _exists(pid)


def _exists(pid: int) -> bool:
    """Where others' processes are hidden from /proc the kernel still says."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
