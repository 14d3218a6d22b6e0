"""Does a person converse with the real Claude Code CLI, leave, come back, and go on after a kill?"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pytest

from ..daemonfixture import Daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

TALK = """
[[step]]
text = "First answer."
[[step]]
text = "Second answer."
[[step]]
text = "Third answer."
"""

WORK = """
[[step]]
text = "I begin."
[[step.call]]
tool = "Bash"
input = { command = "echo half > /workspace/notes.txt; echo $HOME > /artefacts/home.txt; sleep 60", description = "w" }
[[step]]
text = "Goes on from the notes."
"""


class Terminal:
    """`eleagent` on a pseudo-terminal of 80x24."""

    def __init__(self, daemon: Daemon, *arguments: str) -> None:
        self.main, other = pty.openpty()
        os.set_inheritable(other, True)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "eleagent.cli.main", *arguments],
            env=daemon.env | {"TERM": "xterm"}, stdin=other, stdout=other, stderr=other, start_new_session=True,
        )  # fmt: skip
        os.close(other)
        self.seen = b""

    def until(self, text: str, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while text.encode() not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come: {self.seen[-3000:]!r}"
            if select.select([self.main], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.main, 65536)
                except OSError:
                    break

    def type(self, text: str) -> None:
        os.write(self.main, text.encode())

    def close(self) -> int:
        code = self.process.wait(30)
        os.close(self.main)
        return code


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "script.toml"
        path.write_text(text)
        return str(path)

    return write


def test_two_turns_then_leaving_and_coming_back(claude, script):
    terminal = Terminal(claude, "run", "-i", "--model-script", script(TALK), "one")
    terminal.until("First answer.")
    terminal.type("two\r")
    terminal.until("Second answer.")
    terminal.type("\x10\x11")
    terminal.until("which goes on")
    assert terminal.close() == 0
    key = claude.json("ps", "--json")["sessions"][0]["key"]
    assert claude.json("session", "show", key, "--json")["session"]["driver"] == "root"
    back = Terminal(claude, "attach", key)
    back.until("Second answer.")
    back.type("three\r")
    back.until("Third answer.")
    assert claude.cli("stop", key).returncode == 0
    back.until("stopped")
    back.close()
    said = [event["data"]["text"] for event in claude.events(key) if event["type"] == "input.accepted"]
    assert said == ["one", "two", "three"]
    exported = claude.cli("session", "export", key).stdout
    assert [exported.index(text) for text in ("one", "First answer.", "two", "Second answer.", "three")] == sorted(
        exported.index(text) for text in ("one", "First answer.", "two", "Second answer.", "three")
    )
    lines = claude.cli("session", "export", key, "--format", "jsonl").stdout.splitlines()
    assert len(lines) == len(claude.events(key))
    assert (claude.home / "artefacts" / "conversations" / f"{key}.md").read_text() == exported
    assert claude.cli("session", "rm", key).returncode == 2, "it has to be said twice"
    assert claude.cli("session", "rm", "--yes", key).returncode == 0
    assert [path for path in claude.home.rglob("*") if key in str(path)] == []
    assert claude.cli("logs", key).returncode == 2


def test_resume_after_a_kill_has_home_files_and_conversation(claude, script):
    done = claude.cli("run", "-d", "--model-script", script(WORK), "write notes")
    key = done.stdout.strip()
    claude.wait_for(key, "agent.tool_call")
    time.sleep(1)
    claude.cli("stop", "--grace", "0", key)
    claude.cli("wait", key)
    again = claude.cli("resume", "-d", key, "go on")
    assert again.returncode == 0, again.stderr
    new = again.stdout.strip()
    assert claude.cli("wait", new, timeout=90).returncode == 0, claude.events(new)
    events = claude.events(new)
    (link,) = [event["data"] for event in events if event["type"] == "session.resumed"]
    assert link["resumed_from"] == key
    natives = {
        event["data"]["native_session"]
        for one in (key, new)
        for event in claude.events(one)
        if event["type"] == "agent.ready"
    }
    assert len(natives) == 1, "it is the agent's own conversation that goes on"
    assert claude.json("session", "show", key, "--json")["session"]["resumed_by"] == new
    assert "home.txt" in [one["path"] for one in claude.json("artefact", "ls", new, "--json")["artefacts"]]
    twice = claude.cli("resume", key, "again")
    assert (twice.returncode, f"go on with {new}" in twice.stderr) == (2, True)
