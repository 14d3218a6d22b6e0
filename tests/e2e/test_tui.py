"""Can one work in the full-screen client: start, watch, approve, browse, quit and come back? In tmux, for real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import Daemon, running_daemon
from .test_claude import link_images

pytestmark = pytest.mark.engine

POLICY = """
[policies.asking]
model = false
[policies.asking.approvals]
hosts = true
"""
AGENT = (
    "echo hello-from-inside; echo artefact-text > /artefacts/out.txt; "
    "python3 -c 'import urllib.request as u; u.urlopen(\"https://unknown.example/\")'; echo went-on; exec sleep 600"
)

PROGRAM = f"{sys.executable} -P -m eleagent.cli.main; exec sleep 600"


class Tmux:
    """A server of its own with one window of 80 columns and 24 rows."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._base = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]
        self._env = {name: value for name, value in env.items() if name != "TMUX"} | {
            "TERM": "xterm-256color",
            "PAGER": "less -M",
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self._base, *words], env=self._env, capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self) -> None:
        self("new-session", "-d", "-x", "80", "-y", "24", PROGRAM)

    def open_again(self) -> None:
        self("respawn-pane", "-k", PROGRAM)

    @property
    def screen(self) -> str:
        return self("capture-pane", "-p")

    def until(self, text: str, timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in (screen := self.screen):
            assert time.monotonic() < deadline, f"{text!r} is not there:\n{screen}"
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        for key in keys:
            self("send-keys", key)
            time.sleep(0.05)

    def type(self, text: str) -> None:
        self("send-keys", "-l", text)


@pytest.fixture
def asking(daemon: Daemon, docker_socket: str, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose policy `asking` asks a person about unknown hosts."""
    (tmp_path / "config.toml").write_text(POLICY)
    with running_daemon(docker_socket, ELEAGENT_CONFIG=str(tmp_path / "config.toml"), ELEAGENT_RUNTIME="docker") as own:
        link_images(daemon, own)
        yield own


@pytest.fixture
def tmux(asking: Daemon, tmp_path: Path) -> Iterator[Tmux]:
    server = Tmux(tmp_path, asking.env | {"XDG_STATE_HOME": str(tmp_path)})
    yield server
    server("kill-server")


@pytest.mark.parametrize("runtime", ["docker"], indirect=True)
def test_start_watch_approve_browse_quit_and_come_back(asking: Daemon, tmux: Tmux) -> None:
    tmux.open()
    tmux.until("n new")
    tmux.press("n")
    tmux.until("command: ready")
    tmux.type(AGENT)
    tmux.press("Enter", "Enter")
    tmux.type("worker")
    tmux.press("Enter", "Enter")
    tmux.type("asking")
    tmux.press("Up", "Up", "Up", "Up", "Up", "C-u")
    tmux.type("command")
    tmux.press("C-s")
    tmux.until("hello-from-inside")
    tmux.until("1 needs you")
    tmux.press("2")
    tmux.until("unknown.example:443")
    tmux.until("end of the request")
    time.sleep(1.2)  # a question that has just appeared takes no answer
    tmux.press("A")
    tmux.until("nobody asks for anything")
    tmux.press("Escape")
    tmux.until("went-on")
    tmux.press("y")
    tmux.until("copied")
    assert tmux("show-buffer").strip()
    tmux.press("v")
    tmux.until("text.md")
    tmux.press("q")
    tmux.until("> worker running")
    tmux.press("w")
    tmux.until("unknown.example:443")
    tmux.press("5")
    tmux.until("approval.answer")
    tmux.press("q")
    tmux.until("on: eleagent ps shows")
    tmux.open_again()
    tmux.until("Audit")
    tmux.press("1")
    tmux.until("worker")
    tmux.press("/")
    tmux.type("worker")
    tmux.press("Enter")
    tmux.until("⏎ open")
    tmux.press("Enter")
    tmux.until("went-on")
    tmux.press("x")
    tmux.until("Stop worker?")
    tmux.type("y")
    tmux.press("Enter")
    tmux.until("stopped")
    tmux.until("1 artefacts")
    tmux.press("f")
    tmux.until("artefact-text")
    tmux.press("Escape")
    tmux.until("worker stopped")
    tmux.press("p")
    tmux.until("isolation   complete")
    tmux.press("q")
    deadline = time.monotonic() + 10
    while "isolation" in tmux.screen:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (session,) = (one for one in asking.json("ps", "-a", "--json")["sessions"] if one["name"] == "worker")
    assert session["state"] == "stopped"
