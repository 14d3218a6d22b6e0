"""How does a client start the caller's own daemon?"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from eleagent.errors import ConfigError, DaemonUnreachable

_COMMAND: Final = ("-P", "-m", "eleagent_daemon.daemonctl", "run", "--private")


def start_own() -> list[str]:
    """Start it, or wait for the one that another client starts; it answers on return. Returns what there is to say.

    Raises ConfigError where a setting is in the way, else DaemonUnreachable.
    """
    environment = {name: value for name, value in os.environ.items() if name != "ELEAGENT_API_KEY"}
    done = subprocess.run(
        [sys.executable, *_COMMAND], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode == 0:
        return _lines(done.stdout)
    why = (_lines(done.stderr) or [f"it ended with {done.returncode}"])[-1]
    kind = ConfigError if done.returncode == ConfigError.exit_code else DaemonUnreachable
    raise kind(f"your own daemon did not start: {why}")


def _lines(said: bytes) -> list[str]:
    return [line.removeprefix("eleagent: ") for line in said.decode(errors="replace").splitlines() if line]
