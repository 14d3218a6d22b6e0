"""How long after an event is durable does the slowest of twenty watchers have it, while another reads nothing?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from events import KEY, served_timeline

from eleagent.wire.events import OutputText
from eleagent_daemon.store.timeline import Timeline

WATCHERS = 20
EVENTS = 5000
BATCH = 10
PACE_S = 0.01
"""A batch every hundredth of a second: 1,000 events a second."""

READERS = """
import json, selectors, socket, sys, time
from eleagent.version import VERSION_HEADER, __version__
path, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
head = f"GET /v1/sessions/{key}/events?follow=true HTTP/1.1\\r\\nHost: eleagent\\r\\n"
head += f"{VERSION_HEADER}: {__version__}\\r\\n\\r\\n"
watch, seen, tails = selectors.DefaultSelector(), [], {}
for number in range(count + 1):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    one.sendall(head.encode())
    if number < count:  # the last one reads nothing at all
        watch.register(one, selectors.EVENT_READ, number)
        seen.append([])
        tails[number] = b""
    else:
        stalled = one
print("ready", flush=True)
while watch.get_map():
    for ready, _ in watch.select():
        piece = ready.fileobj.recv(1 << 16)
        data = tails[ready.data] + piece
        if data.endswith(b"0\\r\\n\\r\\n"):
            watch.unregister(ready.fileobj)
        now = time.monotonic()
        found = data.count(b'"seq":')
        seen[ready.data] += [now] * found
        tails[ready.data] = data[data.rfind(b'"seq":') + 6:][-5:] if found else data[-5:]
print(json.dumps(seen))
"""


def fanout_p99() -> tuple[float, str]:
    """Milliseconds from durable to the slowest watcher, 99 of 100 events; each watcher has every event."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-", dir="/var/tmp") as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> tuple[float, str]:
    async with served_timeline(folder) as (timeline, end):
        readers = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READERS, str(folder / "api.sock"), KEY, str(WATCHERS),
            stdout=subprocess.PIPE, limit=1 << 26,
        )  # fmt: skip
        assert readers.stdout is not None
        await readers.stdout.readline()
        durable = await _write(timeline)
        end()
        seen = json.loads(await readers.stdout.readline())
        await readers.wait()
    if any(len(times) != EVENTS + 1 for times in seen):
        return float("inf"), "EVENTS LOST"
    slowest = sorted(max(times[number + 1] for times in seen) - at for number, at in enumerate(durable))
    p50, p99 = (slowest[int(len(slowest) * share)] * 1000 for share in (0.5, 0.99))
    return p99, f"{EVENTS} events to {WATCHERS} watchers, median {p50:.1f} ms"


async def _write(timeline: Timeline) -> list[float]:
    """When each event was durable."""
    durable: list[float] = []
    due = time.monotonic()
    for number in range(0, EVENTS, BATCH):
        due += PACE_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await timeline.append(*(OutputText(stream="out", text=f"line {number + one}") for one in range(BATCH)))
        durable += [time.monotonic()] * BATCH
    return durable
