"""How many events a second become durable and reach three watchers, each a process of its own on the API's socket?"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from eleagent.operations.operation import Kind
from eleagent.operations.table import OPERATIONS
from eleagent.permissions import Role
from eleagent.wire.events import OutputText
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.identity import NOBODY, Caller
from eleagent_daemon.api.pipeline import Pipeline
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.listen import bind_socket
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.timeline import Timeline, Timelines

EVENTS = 30_000
BATCH = 100
"""Events that one reading of a busy sandbox's output gives."""
WATCHERS = 3
KEY = "s-benchbench"

WATCHER = """
import sys
from pathlib import Path
from eleagent.client.api import Client
from eleagent.client.address import UnixSocket
from eleagent.operations.sessions import SESSION_EVENTS
seen = 0
query = {"after": 0, "follow": True}
for event in Client(at=UnixSocket(sys.argv[1])).stream(SESSION_EVENTS, query=query, key=sys.argv[2]):
    seen += event.seq == seen + 1
    if seen == 1:
        print("ready", flush=True)
print(seen)
"""


class _Sessions:
    """What the events handler asks of sessions."""

    def find_previews(self, key: str) -> None:
        return None


class _Anybody:
    """Everybody is the owner."""

    async def identify(self, _: web.Request) -> Caller:
        return Caller(name="bench", role=Role.OWNER, identity=NOBODY)

    def again(self, caller: Caller) -> Caller:
        return caller


def durable_events() -> tuple[float, str]:
    """Events a second from the first append until the slowest watcher has the last one."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-", dir="/var/tmp") as folder:
        return asyncio.run(_measure(Path(folder)))


@asynccontextmanager
async def served_timeline(folder: Path) -> AsyncIterator[tuple[Timeline, Callable[[], None]]]:
    """A timeline with one event behind the real API on a socket, and what ends it for those who watch."""
    logging.getLogger("aiohttp.server").disabled = True  # watchers that are cut off are meant to be
    with ThreadPoolExecutor(max_workers=6) as pool:
        timelines = Timelines(folder=folder, pool=pool)
        ledger = await Ledger.open(folder / "ledger", secrets=folder, installation="bench", pool=pool)
        timeline = await timelines.open(KEY)
        nothing = cast(Any, None)
        sessions = SessionHandlers(sessions=cast(Any, _Sessions()), timelines=timelines, projects=cast(Any, None))
        handlers = dict.fromkeys(OPERATIONS, nothing) | dict(sessions.table())
        pipeline = Pipeline(ledger=ledger, doorkeeper=_Anybody(), resolvers=dict.fromkeys(Kind, _itself))
        runner = web.AppRunner(make_app(pipeline=pipeline, handlers=handlers))
        await runner.setup()
        await web.SockSite(runner, bind_socket(folder / "api.sock")).start()
        await timeline.append(OutputText(stream="out", text="first"))
        try:
            yield timeline, lambda: timelines.close(KEY)
        finally:
            await runner.cleanup()
            await ledger.close()


async def _measure(folder: Path) -> tuple[float, str]:
    async with served_timeline(folder) as (timeline, end):
        watchers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", WATCHER, str(folder / "api.sock"), KEY, stdout=subprocess.PIPE
            )
            for _ in range(WATCHERS)
        ]
        for watcher in watchers:
            assert watcher.stdout is not None
            await watcher.stdout.readline()
        begin = time.perf_counter()
        for number in range(0, EVENTS, BATCH):
            await timeline.append(
                *(OutputText(stream="out", text=f"line {number + one} of a log") for one in range(BATCH))
            )
        durable_s = time.perf_counter() - begin
        end()
        answers = [(await watcher.communicate())[0] for watcher in watchers]
        all_s = time.perf_counter() - begin
    whole = all(int(answer.split()[-1]) == EVENTS + 1 for answer in answers)
    detail = f"durable after {durable_s:.2f} s, at all watchers after {all_s:.2f} s" + (
        "" if whole else "; EVENTS LOST"
    )
    return (EVENTS / all_s if whole else 0.0), detail


async def _itself(text: str, sight: Sight) -> Owned:
    return Owned(id=text, owner=sight.user)
