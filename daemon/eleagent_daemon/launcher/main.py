"""What is eleagent-launcher made of?"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import pwd
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from eleagent_daemon.domain.sandbox import BUBBLEWRAP, DOCKER
from eleagent_daemon.kernel.child import Children
from eleagent_daemon.launcher.heartbeat import Watchdog
from eleagent_daemon.launcher.observe.programs import Programs
from eleagent_daemon.launcher.personal import PersonalPlaces
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.launcher.sandboxes import Sandboxes
from eleagent_daemon.launcher.server import Server
from eleagent_daemon.launcher.sources import Sources
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.launcher.verbs import Verbs
from eleagent_daemon.runtime.seam import Runtime

IDLE_S: Final = 60.0
_TICK_S: Final = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Run until nobody needs it; 0, or 1 when another launcher has this home."""
    options = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s launcher %(levelname)s %(message)s")
    os.umask(0o022)
    places = (Places if os.geteuid() == 0 else PersonalPlaces)(options.home / "launcher")
    places.prepare()
    # A lock on a file can be taken by whoever may open it, for reading too.
    lock = os.open(places.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(lock, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another launcher has {options.home}", file=sys.stderr)  # noqa: T201 - told to whoever started it
        return 1
    asyncio.run(_run(options, places))
    return 0


async def _run(options: argparse.Namespace, places: Places) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        stack.callback(places.close)
        runtime = _runtime(options, places)
        stack.push_async_callback(runtime.close)
        tasks = Tasks()
        stack.push_async_callback(tasks.close)
        children = Children()
        stack.callback(children.close)
        sources = Sources(own_folders=(options.home, options.socket.parent))
        server = Server(
            path=options.socket,
            owner=options.daemon_uid,
            tasks=tasks,
            # Who greets needs the launcher, whatever it was asked before.
            on_greeted=stopping.clear,
            on_lost=lambda: sandboxes.daemon_lost(),
        )
        programs = Programs(installation=options.installation, alive=places.root / "watched", tasks=tasks)
        stack.callback(programs.close)
        sandboxes = Sandboxes(
            places=places,
            runtime=runtime,
            sources=sources,
            programs=programs,
            tasks=tasks,
            children=children,
            installation=options.installation,
            reader_group=_group(options.daemon_uid),
            notify=server.notify,
        )
        stack.push_async_callback(sandboxes.close)
        await sandboxes.recover()
        tasks.start(sandboxes.watch(), "watch")
        watchdog = Watchdog(connected=lambda: server.connected, pause_all=sandboxes.pause_all)
        tasks.start(watchdog.run(), "watchdog")
        verbs = Verbs(
            runtime=runtime,
            sandboxes=sandboxes,
            sources=sources,
            places=places,
            programs=programs,
            children=children,
            owner=options.daemon_uid,
            notify=server.notify,
            watchdog=watchdog,
        )
        server.start(verbs.table())
        stack.callback(server.close)
        await _until_unneeded(server, sandboxes, stopping)


async def _until_unneeded(server: Server, sandboxes: Sandboxes, stopping: asyncio.Event) -> None:
    """Asked to stop: when no sandbox lives. Not asked: when for IDLE_S nobody was connected either."""
    needed = time.monotonic()
    while sandboxes.any_alive or not stopping.is_set():
        if sandboxes.any_alive or server.connected:
            needed = time.monotonic()
        if time.monotonic() - needed > IDLE_S:
            return
        await asyncio.sleep(_TICK_S)


def _runtime(options: argparse.Namespace, places: Places) -> Runtime:
    """Only what is used is loaded: every child that the launcher forks has to be given all of its memory."""
    if options.runtime == BUBBLEWRAP:
        from eleagent_daemon.runtime.bubblewrap import BubblewrapRuntime

        return BubblewrapRuntime(state=places.root / BUBBLEWRAP, installation=options.installation)
    # It talks to nobody who shows a certificate: whose signature counts need not be loaded and kept (2 MiB).
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
    from eleagent_daemon.runtime.docker import DockerRuntime

    return DockerRuntime(socket=options.docker_socket, installation=options.installation)


def _group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="eleagent-launcher", description="Makes, attests and holds EleAgent's sandboxes."
    )
    parser.add_argument(
        "--home", type=Path, required=True, help="state folder; the launcher keeps its own in HOME/launcher"
    )
    parser.add_argument("--socket", type=Path, required=True, help="where eleagentd connects")
    parser.add_argument(
        "--daemon-uid", type=int, default=os.getuid(), help="the only user that may connect, besides root"
    )
    parser.add_argument("--installation", required=True, help="the label that tells this installation's sandboxes")
    parser.add_argument("--runtime", choices=[DOCKER, BUBBLEWRAP], default=DOCKER)
    parser.add_argument("--docker-socket", default="/var/run/docker.sock")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
