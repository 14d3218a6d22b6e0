"""Does a sandbox that was made ahead serve its session as any other, and is none left when nobody needs it?"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import Daemon, running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

SAY = 'printf "%s|" "$0" "$@" "$A"; id -u; cat; echo kept > /artefacts/kept'


@pytest.fixture
def own(docker_socket: str, runtime: str) -> Iterator[Daemon]:
    with running_daemon(docker_socket, ELEAGENT_SESSION_SPARES="2", ELEAGENT_RUNTIME=runtime) as started:
        assert started.cli("image", "build", "command", timeout=110).returncode == 0
        yield started


def folders(own: Daemon) -> Path:
    """Where bubblewrap's sandboxes have one each, by name."""
    return own.home / "launcher" / "bubblewrap" / "sandboxes"


def sandboxes(own: Daemon) -> list[str]:
    """Names of this daemon's."""
    if folders(own).is_dir():
        return [folder.name for folder in folders(own).iterdir() if not folder.name.startswith(".")]
    installation = (own.home / "installation").read_text().strip()
    listed = ["docker", "ps", "-a", "--filter", f"label=io.eleagent.installation={installation}"]
    return subprocess.run(
        [*listed, "--format", "{{.Names}}"], env=own.env, capture_output=True, text=True, check=True
    ).stdout.split()


def spare(own: Daemon) -> str:
    """The key of the one spare, once it is there."""
    until = time.monotonic() + 30
    while len(names := sandboxes(own)) != 1:
        assert time.monotonic() < until, names
        time.sleep(0.05)
    return names[0].removeprefix("eleagent-").removesuffix("-1")


def none_left(own: Daemon) -> None:
    until = time.monotonic() + 90
    while (names := sandboxes(own)) or str(own.home) in Path("/proc/self/mountinfo").read_text():
        assert time.monotonic() < until, names
        time.sleep(0.1)


def run(own: Daemon, *words: str) -> tuple[str, str]:
    """The key and the output of a session with a program of many a trap."""
    done = own.cli("run", "-q", "-e", "A=it's $HOME", "--", "sh", "-c", SAY, *words)
    assert done.returncode == 0, done.stderr
    return own.json("session", "show", "@", "--json")["session"]["key"], done.stdout


def test_session_takes_a_spare_and_is_like_any_other(own: Daemon) -> None:
    words = ("x", "two words", "it's", '"$(id)"', "a\nb")
    first, told = run(own, *words)
    ahead = spare(own)
    assert ahead != first
    second, told_again = run(own, *words)
    assert second == ahead
    assert told_again.rpartition("|")[0] == told.rpartition("|")[0] == "|".join([*words, "it's $HOME"])
    shown = own.json("session", "show", second, "--json")
    assert [control["name"] for control in shown["report"]["controls"] if not control["ok"]] == []
    assert own.cli("artefact", "cat", second, "kept").stdout == "kept\n"
    events = own.wait_for(second, "session.ended", timeout=1)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_session_with_data_takes_no_spare(own: Daemon, tmp_path: Path) -> None:
    run(own, "x")
    ahead = spare(own)
    assert own.cli("run", "-q", "--data", str(tmp_path), "--", "true").returncode == 0
    assert own.json("session", "show", "@", "--json")["session"]["key"] != ahead
    assert spare(own) == ahead


def test_spare_that_was_killed_is_no_session_s_undoing(own: Daemon) -> None:
    run(own, "x")
    name = f"eleagent-{spare(own)}-1"
    if folders(own).is_dir():
        os.kill(int((folders(own) / name / "init").read_text().split()[0]), signal.SIGKILL)
    else:
        subprocess.run(["docker", "kill", name], env=own.env, capture_output=True, check=True)
    time.sleep(1)
    assert "|" in run(own, "x")[1]


def test_spare_is_gone_with_its_daemon(own: Daemon) -> None:
    run(own, "x")
    spare(own)
    own.stop()
    none_left(own)


@pytest.mark.parametrize("victims", [["main"], ["launcher.main"], ["main", "launcher.main"]], ids="+".join)
def test_spare_does_not_outlive_a_crash(own: Daemon, victims: list[str]) -> None:
    run(own, "x")
    spare(own)
    for victim in victims:
        own.kill(f"eleagent_daemon.{victim}")
    own.answers()
    assert "|" in run(own, "x")[1]
    spare(own)
    own.stop()
    none_left(own)
