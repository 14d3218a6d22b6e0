"""What do the measurements share: a daemon that has started, with agents and images in place, and a way to pair?"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path(os.environ.get("BENCH_HOME", "/var/lib/eleagent-bench"))
"""Kept between runs, so that binary and image are there the next time."""

ELEAGENT = str(Path(sys.executable).with_name("eleagent"))
START_S = 30.0


@dataclass(frozen=True)
class Warm:
    daemon: subprocess.Popen[bytes]
    agents: dict[str, dict[str, Any]]
    """By name, as `eleagent agent ls --json` has them."""


@contextlib.contextmanager
def warm_daemon(home: Path = HOME, runtime: str = "docker") -> Iterator[Warm]:
    """A daemon of the benchmark's own, ended afterwards. Raises SystemExit with its log when it does not start."""
    home.mkdir(parents=True, exist_ok=True)
    ours = {"ELEAGENT_HOME": str(home), "ELEAGENT_RUNTIME": runtime}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    with tempfile.TemporaryFile() as log:
        daemon = subprocess.Popen([ELEAGENT, "daemon", "run"], stdout=log, stderr=log)
        try:
            until = time.monotonic() + START_S
            while subprocess.run([ELEAGENT, "status"], capture_output=True, check=False).returncode:
                if daemon.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SystemExit(f"bench: the daemon did not start:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            if not _agents()["claude"]["installed"]:
                eleagent("agent", "install", "claude")
            for name, agent in _agents().items():
                if not agent["image_id"]:
                    eleagent("image", "build", name)
            yield Warm(daemon, _agents())
        finally:
            daemon.terminate()
            daemon.wait(timeout=30)
            for name, value in before.items():
                os.environ.pop(name)
                os.environ.update({name: value} if value is not None else {})


def eleagent(*arguments: str) -> str:
    """Its output. Raises CalledProcessError, with what it said on stderr for all to see."""
    return subprocess.run([ELEAGENT, *arguments], stdout=subprocess.PIPE, check=True, text=True).stdout


def _agents() -> dict[str, dict[str, Any]]:
    return {agent["name"]: agent for agent in json.loads(eleagent("agent", "ls", "--json"))["agents"]}


def paired(ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int) -> tuple[float, str]:
    """The median of ours / theirs (seconds) over pairs that take turns in going first, and both medians in words."""
    ours(), theirs()  # what only the first one pays
    pairs = []
    for number in range(rounds):
        if number % 2:
            mine, other = ours(), theirs()
        else:
            other, mine = theirs(), ours()
        pairs.append((mine, other))
    medians = [statistics.median(side) * 1000 for side in zip(*pairs, strict=True)]
    return statistics.median(mine / other for mine, other in pairs), f"{medians[0]:.0f} ms / {medians[1]:.0f} ms"
