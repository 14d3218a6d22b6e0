"""Does a client that stops reading cost anybody anything?"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from eleagent.version import VERSION_HEADER, __version__

from .faults import DAEMON, output

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

LINES = 60_000
FLOOD = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i of a flood that nobody reads; done"
STUCK = 20


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_watchers_that_stop_reading_hold_up_nobody_and_cost_little(daemon):
    key = daemon.cli("run", "-d", "--", "sh", "-c", f"sleep 2; {FLOOD}").stdout.strip()
    daemon.wait_for(key, "session.started")
    (pid,) = daemon.pids(DAEMON)
    before = resident_kib(pid)
    stuck = []
    for _ in range(STUCK):
        one = socket.socket(socket.AF_UNIX)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(str(daemon.socket))
        head = (
            f"GET /v1/sessions/{key}/events?follow=true HTTP/1.1",
            "Host: eleagent",
            f"{VERSION_HEADER}: {__version__}",
        )
        one.sendall("\r\n".join([*head, "", ""]).encode())
        assert one.recv(200).startswith(b"HTTP/1.1 200"), "it watches, and reads no more"
        stuck.append(one)
    lines: list[str] = []
    reader = threading.Thread(
        target=lambda: lines.extend(daemon.cli("logs", "-f", key, timeout=100).stdout.splitlines())
    )
    reader.start()
    events = daemon.wait_for(key, "session.ended", timeout=100)
    grown = resident_kib(pid) - before
    reader.join()
    assert output(events).count("\n") == LINES
    assert len([line for line in lines if line.startswith("line ")]) == LINES
    assert grown < 64 * 1024, f"{grown} KiB for {STUCK} watchers that do not read"
    assert daemon.cli("ps").returncode == 0
    for one in stuck:
        one.close()
