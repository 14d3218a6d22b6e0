"""Does an ordinary account get sandboxes at once, with no engine and no daemon of the machine's?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from ..daemonfixture import Daemon, private_daemon

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(90)]


@pytest.fixture
def own() -> Iterator[Daemon]:
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap") as daemon:
        yield daemon


def test_first_command_of_an_account_runs_a_program_in_a_sandbox(own: Daemon) -> None:
    done = own.cli("run", "--json", "--", "sh", "-c", "echo made > /artefacts/file; id -u; ls /")
    assert done.returncode == 0, done.stderr + own.log()
    (session,) = own.json("ps", "-a", "--json")["sessions"]
    assert (session["state"], session["runtime"]) == ("succeeded", "bubblewrap")
    assert own.cli("artefact", "cat", session["key"], "file").stdout == "made\n"
    assert own.json("status", "--json")["mode"] == "best-effort"


def test_session_keeps_its_daemon_and_goes_on_without_it(own: Daemon) -> None:
    """It is longer than the daemon may be idle, and the daemon dies in the middle."""
    own.env["ELEAGENT_IDLE_S"] = "1"
    key = own.cli("run", "-d", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done").stdout.strip()
    time.sleep(1.5)
    own.kill("eleagent_daemon.main")
    done = own.cli("wait", key)
    assert done.returncode == 0, own.log()
    assert own.cli("logs", "-q", key).stdout.split() == list("12345678")
    own.await_end()


def test_session_outlives_all_that_runs_beside_it(own: Daemon) -> None:
    """Both processes and their parent are killed; the next command starts them again and finds what was said."""
    key = own.cli("run", "-d", "--", "sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done").stdout.strip()
    own.wait_for(key, "session.started")
    (parent,) = own.parents()
    for pid in (parent, *own.pids("eleagent_daemon.main"), *own.pids("eleagent_daemon.launcher.main")):
        os.kill(pid, signal.SIGKILL)
    assert own.cli("status").returncode == 125
    done = own.cli("wait", key)
    assert done.returncode == 0, done.stderr + own.log()
    assert own.cli("logs", "-q", key).stdout.split() == list("123456")


@pytest.mark.skipif(os.getuid() == 0, reason="root takes an engine where one answers")
def test_account_that_may_not_use_an_engine_gets_bubblewrap_by_itself() -> None:
    with private_daemon() as own:
        del own.env["ELEAGENT_RUNTIME"]
        assert own.cli("run", "-q", "--", "true").returncode == 0, own.log()
        status = own.json("status", "--json")
        assert status["runtime"] == "bubblewrap"
        assert status["runtime_why"].endswith("a container engine needs a launcher that is root")
