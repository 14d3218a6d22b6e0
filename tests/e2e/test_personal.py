"""Does a daemon without an engine keep its word, root's and an ordinary user's? test_person runs this as the latter."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import Daemon, running_daemon

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(180)]

COUNT = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done"
SCRIPT = '[[step]]\ntext = "I am done."\n'
RESOURCES = {"memory", "memory and swap", "memory and TCP", "cpu", "disk", "disk inodes"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    missing = tmp_path_factory.mktemp("engine") / "docker.sock"
    with running_daemon(str(missing), ELEAGENT_RUNTIME="bubblewrap") as started:
        yield started


def report(own: Daemon, *words: str) -> dict[str, object]:
    done = own.cli("run", "--json", "--", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    key = json.loads(done.stdout.splitlines()[-1])["key"]
    found: dict[str, object] = own.json("session", "show", key, "--json")["report"]
    return found


def test_confinement_is_whole_and_what_is_not_limited_is_said(own: Daemon) -> None:
    found = report(own, "true")
    assert found["complete"]
    missing = set(found["missing_resources"])  # type: ignore[call-overload]
    assert missing <= (RESOURCES if os.getuid() else set())
    said = own.cli("run", "--", "true").stderr + own.cli("run", "--", "true").stdout
    assert ("best-effort: this host does not enforce" in said) == bool(missing)


def test_strict_refuses_what_can_not_be_limited(tmp_path: Path) -> None:
    with running_daemon(str(tmp_path / "x"), ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_SESSION_MODE="strict") as own:
        done = own.cli("run", "--", "true")
    assert done.returncode == (126 if os.getuid() else 0), done.stderr
    assert ("memory" in done.stderr) == bool(os.getuid())


def test_data_is_shown_and_no_socket_leads_out(own: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    (folder / "note").write_text("read me")
    (folder / "note").chmod(0o644)
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(str(folder / "door"))
        outside.listen()
        ask = "import socket; socket.socket(socket.AF_UNIX).connect('/data/door')"
        words = f'cat /data/note; python3 -c "{ask}" 2>/dev/null || echo shut; touch /data/x 2>/dev/null || echo kept'
        done = own.cli("run", "-q", "--data", str(folder), "--", "sh", "-c", words)
    assert done.stdout == "read meshut\nkept\n", done.stderr


def test_folder_of_the_socket_is_no_data(own: Daemon) -> None:
    for folder in (own.socket.parent, own.home, own.home.parent):
        done = own.cli("run", "-q", "--data", str(folder), "--", "true")
        assert done.returncode == 126, folder
        assert "which EleAgent keeps for itself" in done.stderr


def test_session_goes_on_when_the_daemon_is_killed(own: Daemon) -> None:
    key = own.cli("run", "-d", "--", "sh", "-c", COUNT).stdout.strip()
    own.wait_for(key, "output.text")
    for module in ("eleagent_daemon.main", "eleagent_daemon.launcher.main"):
        own.kill(module)
        time.sleep(0.3)
    own.answers()
    events = own.wait_for(key, "session.ended", timeout=60)
    assert events[-1]["data"]["state"] == "succeeded", events[-1]["data"]
    said = "".join(event["data"]["text"] for event in events if event["type"] == "output.text")
    assert said == "".join(f"line {number}\n" for number in range(1, 301))


def test_claude_needs_nothing_but_its_binary(own: Daemon, tmp_path: Path) -> None:
    assert own.cli("agent", "install", "claude", timeout=110).returncode == 0
    agents = {agent["name"]: agent for agent in own.json("agent", "ls", "--json")["agents"]}
    assert agents["claude"]["needs"] is None
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    done = own.cli("run", "-q", "--model-script", str(script), "say something", timeout=110)
    assert (done.returncode, "I am done." in done.stdout) == (0, True), done.stderr


def test_doctor_tells_of_no_failure(own: Daemon) -> None:
    findings = own.json("doctor", "--json")["findings"]
    assert [finding for finding in findings if finding["level"] == "fail"] == []
    named = {finding["name"] for finding in findings if finding["level"] == "warn"}
    assert ({"control groups", "session disks", "sandbox users"} <= named) == bool(os.getuid())
