"""How quick, how small and how quiet is the full-screen client? Measured from outside, byte by byte, on a terminal.

Beside what a clock says stands the CPU time, which others on a busy machine spoil less.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from terminal import Terminal

HERE = Path(__file__).parent
SIZES = {100_000: "s-aaaaaaaaaa", 1_000_000: "s-aaaaaaaaab"}
STREAM_S = 5.0
BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("EleAgent")

Bare().run(mouse=False)
"""
"""The least that Textual paints."""


class Measured:
    """The client on a terminal, and what its heartbeat says."""

    def __init__(self, folder: Path, socket: Path, *, heart: bool = True, **env: str) -> None:
        self._told = folder / "beat.json"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("ELEAGENT_", "SSH_", "TMUX"))
        }
        clean |= {"ELEAGENT_HOST": f"unix://{socket}", "XDG_STATE_HOME": tempfile.mkdtemp(dir=folder)}
        program = [str(HERE / "tui_app.py"), str(self._told)] if heart else ["-m", "eleagent.cli.main"]
        command = [sys.executable, *program]
        self.terminal = Terminal(command, clean | {"TERM": "xterm-256color"} | env)

    def beat(self) -> dict[str, float]:
        """Since the last one."""
        self._told.unlink(missing_ok=True)
        os.kill(self.terminal.pid, signal.SIGUSR1)
        until = time.monotonic() + 5
        while not self._told.exists():
            if time.monotonic() > until:
                sys.exit("bench: the client's loop does not turn")
            time.sleep(0.005)
        told: dict[str, float] = json.loads(self._told.read_text())
        return told


@contextmanager
def scene() -> Iterator[tuple[Path, Path, subprocess.Popen[bytes]]]:
    """A folder, the socket of a daemon with long timelines, and the process that takes letters."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        for count, key in SIZES.items():
            _write(folder / "logs" / f"{key}.jsonl", count)
        server = subprocess.Popen(
            [sys.executable, str(HERE / "tui_server.py"), str(folder / "api.sock"), str(folder / "logs")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield folder, folder / "api.sock", server
        finally:
            server.kill()
            server.wait()


def _write(path: Path, count: int) -> None:
    line = (
        '{"seq":%d,"ts":"2026-03-09T08:00:00Z","type":"output.text","by":"claimed",'
        '"data":{"stream":"out","text":"%s"}}\n'
    )
    with path.open("w", encoding="utf-8") as file:
        for begin in range(1, count + 1, 10_000):
            file.writelines(
                line % (seq, f"line {seq} " + "lorem ipsum dolor " * (seq * 7919 % 9))
                for seq in range(begin, begin + 10_000)
            )


def figures() -> Iterator[tuple[str, float, float, str, str]]:
    """(name, measured, limit, unit, detail) of each."""
    with scene() as (folder, socket, server):
        assert server.stdin is not None
        yield "first paint of the full-screen client", *_first_paint(folder, socket)
        for count, row in ((100_000, 0), (1_000_000, 1)):
            yield from _transcript(folder, socket, count, row)
        yield from _stream(folder, socket, server)
        yield from _list(folder, socket, server)
        _tell(server, b"f")
        yield from _idle(folder, socket)


def _first_paint(folder: Path, socket: Path) -> tuple[float, float, str, str]:
    took, cpu, bare = [], [], []
    for _ in range(5):
        client = Measured(folder, socket, heart=False)
        took.append(client.terminal.wait("EleAgent", since=client.terminal.begun))
        cpu.append(_cpu_s(client.terminal.pid) * 1000)
        client.terminal.wait("otter-003")
        client.terminal.kill()
        peer = Terminal([sys.executable, "-c", BARE], os.environ | {"TERM": "xterm-256color"})
        peer.wait("EleAgent")
        bare.append(_cpu_s(peer.pid) * 1000)
        peer.kill()
    ratio = statistics.median(mine / other for mine, other in zip(cpu, bare, strict=True))
    detail = (
        f"median of {len(took)}, worst {max(took):.0f}; CPU {statistics.median(cpu):.0f} ms, {ratio:.2f} x Textual's"
    )
    return statistics.median(took), 400, "ms", detail


def _transcript(folder: Path, socket: Path, count: int, row: int) -> Iterator[tuple[str, float, float, str, str]]:
    client = Measured(folder, socket)
    client.terminal.wait("otter-003")
    time.sleep(0.5)
    before = client.beat()["rss_mib"]
    opened = _open_from_list(client, count, row)
    name = f"transcript of {count:,} events"
    yield f"{name}: open", opened, 300, "ms", ""
    time.sleep(0.5)
    client.beat()
    keys = 0
    took: dict[str, list[float]] = {"PgUp": [], "Home": [], "End": []}
    for _ in range(5):
        took["PgUp"] += [client.terminal.paint("\x1b[5~") for _ in range(4)]
        took["Home"].append(client.terminal.paint("\x1b[H"))
        took["End"].append(client.terminal.paint("\x1b[F"))
        keys += 6
    used = client.beat()["cpu_s"] * 1000 / keys
    worst = max(took, key=lambda key: statistics.median(took[key]))
    detail = ", ".join(f"{key} {statistics.median(values):.1f}" for key, values in took.items())
    detail += f"; CPU {used:.1f} ms a key"
    yield f"{name}: PgUp, Home, End", statistics.median(took[worst]), 15, "ms", detail
    for _ in range(60):  # through twenty pages of events
        client.terminal.paint("\x1b[5~")
    told = client.beat()
    yield f"{name}: longest stall", told["stall_ms"], 50, "ms", f"CPU {told['stall_cpu_ms']:.0f} ms"
    yield f"{name}: memory added", told["rss_mib"] - before, 20, "MiB", f"{told['rss_mib']:.0f} MiB in all"
    client.terminal.kill()


def _open_from_list(client: Measured, count: int, row: int) -> float:
    for _ in range(row):
        client.terminal.paint("\x1b[B")
    return client.terminal.key("\r", f"line {count} ")


def _stream(
    folder: Path, socket: Path, server: subprocess.Popen[bytes]
) -> Iterator[tuple[str, float, float, str, str]]:
    """Over SSH the client knows that its link may be slow."""
    client = Measured(folder, socket, SSH_CONNECTION="10.0.0.1 1 10.0.0.2 22")
    client.terminal.wait("otter-003")
    time.sleep(0.5)
    _open_from_list(client, 100_000, 0)
    time.sleep(0.5)
    _tell(server, b"t")
    before = client.terminal.total
    time.sleep(STREAM_S)
    rate = (client.terminal.total - before) / STREAM_S / 1000
    yield "200 tokens/s at 80x24 over SSH", rate, 8, "kB/s", ""
    client.terminal.rate = 8000
    time.sleep(1)
    client.terminal.key("i", "h")
    took = []
    for key in "qwertz":  # written to the agent while it writes
        took.append(client.terminal.key(key, key))
        time.sleep(0.4)
    _tell(server, b"s")
    yield "key to paint meanwhile on a link of 8 kB/s", statistics.median(took), 200, "ms", f"worst {max(took):.0f}"
    client.terminal.kill()


def _idle(folder: Path, socket: Path) -> Iterator[tuple[str, float, float, str, str]]:
    client = Measured(folder, socket, heart=False)  # whose own beat would be the most of it
    client.terminal.wait("otter-003")
    _open_from_list(client, 100_000, 0)
    time.sleep(2)
    before, cpu, begun = client.terminal.total, _cpu_s(client.terminal.pid), time.monotonic()
    time.sleep(8)
    used, took = _cpu_s(client.terminal.pid) - cpu, time.monotonic() - begun
    yield "idle full-screen client", used / took * 100, 0.5, "% CPU", ""
    yield "idle full-screen client", (client.terminal.total - before) / took, 100, "B/s", ""
    client.terminal.kill()


def _list(folder: Path, socket: Path, server: subprocess.Popen[bytes]) -> Iterator[tuple[str, float, float, str, str]]:
    client = Measured(folder, socket)
    client.terminal.wait("otter-003")
    time.sleep(1)
    _tell(server, b"u")
    client.beat()
    time.sleep(5)
    told = client.beat()
    _tell(server, b"s")
    yield (
        "500 sessions, 50 changes a second: longest stall",
        told["stall_ms"],
        50,
        "ms",
        f"CPU {told['stall_cpu_ms']:.0f} ms",
    )
    client.terminal.kill()


def _cpu_s(pid: int) -> float:
    """User and system time of all threads (proc(5), schedstat: nanoseconds)."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _tell(server: subprocess.Popen[Any], letter: bytes) -> None:
    assert server.stdin is not None
    server.stdin.write(letter)
    server.stdin.flush()


if __name__ == "__main__":
    for one in figures():
        print(one, flush=True)
