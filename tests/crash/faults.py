"""What is injected, how often did it really happen, and what is left of a daemon's sessions afterwards?"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..daemonfixture import Daemon

DAEMON = "eleagent_daemon.main"
LAUNCHER = "eleagent_daemon.launcher.main"
KILLS = int(os.environ.get("ELEAGENT_TEST_KILLS", "10"))
"""How often one test kills one process on one runtime, of two; `make crash` asks for 200, or for a part of that."""

SESSION = re.compile(r"\bs-")
"""What is a session's has its key in its name."""


@dataclass
class Killer:
    """SIGKILLs one process again and again, each time at a random moment after all was up: one that is killed while it
    starts gets nowhere, which is no test.
    """

    own: Daemon
    module: str
    chance: random.Random
    killed: list[int] = field(default_factory=list)

    def once(self) -> None:
        until = time.monotonic() + 60
        while not self._up():
            assert time.monotonic() < until, self.own.log()[-4000:]
            time.sleep(0.05)
        time.sleep(self.chance.uniform(0.0, 1.0))
        with contextlib.suppress(ValueError, ProcessLookupError):
            self.killed.append(self.own.kill(self.module))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Until the body ends."""
        done = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                while not done.is_set():
                    self.once()
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        assert not failed, failed

    def _up(self) -> bool:
        status = self.own.cli("status", "--json")
        return status.returncode == 0 and '"not reached"' not in status.stdout


def retried(own: Daemon, *arguments: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
    """As a person who tries again while the daemon is away."""
    until = time.monotonic() + timeout
    while True:
        done = own.cli(*arguments, timeout=timeout)
        if done.returncode != 125:
            return done
        assert time.monotonic() < until, done.stderr
        time.sleep(0.1)


def create(own: Daemon, name: str, *words: str) -> None:
    """Accepted in the end, and once: an answer that was lost leaves the name taken."""
    done = retried(own, "run", "-d", "-n", name, *words)
    assert done.returncode == 0 or (done.returncode == 2 and "is named" in done.stderr), done.stderr


def output(events: Sequence[dict[str, Any]]) -> str:
    return "".join(event["data"]["text"] for event in events if event["type"] == "output.text")


def assert_whole(events: Sequence[dict[str, Any]], about: str) -> None:
    """In order, without a gap or a repeat, begun and ended once, attested before it was released."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), about
    types = [event["type"] for event in events]
    assert (types[0], types[-1]) == ("session.created", "session.ended"), about
    for once in ("session.created", "session.started", "session.ended"):
        assert types.count(once) == 1, f"{about}: {types}"
    assert types.index("sandbox.attested") < types.index("session.started"), about


def left(own: Daemon, docker_socket: str) -> list[str]:
    """Containers, processes, mounts, loop devices and sockets of this daemon's sessions."""
    home = str(own.home)
    found = [f"process {pid}: {words}" for pid, words in _processes(home)]
    mounts = re.findall(rf" ({re.escape(home)}/\S*) ", Path("/proc/self/mounts").read_text())
    found += [f"mount {mount}" for mount in mounts]
    loops = subprocess.run(["losetup", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=False).stdout
    found += [f"loop device of {line}" for line in loops.splitlines() if line.strip().startswith(home)]
    sockets = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:] if home in line}
    found += [f"socket {path}" for path in sorted(sockets)]
    if docker_socket and Path(docker_socket).exists():
        label = f"label=io.eleagent.installation=test-{own.home.name}"
        command = ["docker", "-H", f"unix://{docker_socket}", "ps", "-aq", "--filter", label]
        containers = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        found += [f"container {one} of s-" for one in containers]
    return found


def assert_nothing_left(own: Daemon, docker_socket: str, about: str) -> None:
    """Beside what launcher and daemon have for themselves. The last removal may still be under way when the last event
    is told.
    """
    until = time.monotonic() + 20
    while rest := [one for one in left(own, docker_socket) if SESSION.search(one)]:
        assert time.monotonic() < until, f"{about}: {rest}"
        time.sleep(0.2)


def doors(own: Daemon, module: str) -> int:
    """Sockets that a process of ours holds and that are none of its own network namespace's: those of sandboxes."""
    (pid,) = own.pids(module)
    proc = Path(f"/proc/{pid}")
    held = set()
    for entry in (proc / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = str(entry.readlink()).partition(":")
            if kind == "socket":
                held.add(inode.strip("[]"))
    tables = ("unix", "netlink", "packet", "tcp", "tcp6", "udp", "udp6")
    return len(held - {word for table in tables for word in (proc / "net" / table).read_text().split()})


def _processes(home: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(home in word for word in words) and not {DAEMON, LAUNCHER, "eleagent_daemon.daemonctl"} & set(words):
            yield int(entry.name), " ".join(words)[:200]
