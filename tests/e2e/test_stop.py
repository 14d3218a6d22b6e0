"""Does a daemon end when its owner says so, and nothing else with it?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from ..daemonfixture import Daemon, private_daemon

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(120)]


@pytest.fixture
def own() -> Iterator[Daemon]:
    with private_daemon(ELEAGENT_RUNTIME="bubblewrap", ELEAGENT_SESSION_SPARES="0") as daemon:
        yield daemon
        daemon.end()


def test_daemon_that_is_told_to_ends_and_leaves_its_sessions_to_the_next(own: Daemon) -> None:
    key = own.cli("run", "-q", "-d", "--", "sh", "-c", "sleep 5; echo done").stdout.strip()
    own.wait_for(key, "session.started")
    pid = own.json("status", "--json")["pid"]
    (parent,) = own.parents()
    done = own.cli("daemon", "stop")
    said = f"the daemon has ended (it was pid {parent}); 1 session goes on, and the next daemon takes over\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert own.parents() == []
    assert own.pids("eleagent_daemon.main") == []
    assert len(own.pids("eleagent_daemon.launcher.main")) == 1
    assert not own.socket.exists()
    assert own.cli("wait", key).returncode == 0
    assert own.json("status", "--json")["pid"] != pid
    assert own.cli("logs", "-q", key).stdout == "done\n"
    (told,) = own.json("audit", "ls", "--json", "--action", "daemon.stop", "-n", "1")["records"][-1:]
    assert (told["actor"], told["decision"]) == (own.json("whoami", "--json")["user"], "allowed")
    done = own.cli("daemon", "stop", "--json")
    assert msgspec.json.decode(done.stdout)["sessions_live"] == 0
    assert own.parents() == []


def test_where_no_daemon_runs_there_is_none_to_stop_and_none_is_started(own: Daemon) -> None:
    done = own.cli("daemon", "stop")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("eleagent: no daemon of yours is running")
    assert own.parents() == []


def test_daemon_under_a_service_manager_is_left_to_it(own: Daemon) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{own.home.name}")
        own.env["NOTIFY_SOCKET"] = f"@{own.home.name}"
        assert own.cli("ps").returncode == 0
        done = own.cli("daemon", "stop")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("would start it again: systemctl stop eleagent\n")
        assert own.cli("status").returncode == 0
