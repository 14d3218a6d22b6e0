"""Is there one private daemon where none answers, started by whoever comes first, and gone when nobody needs it?

Both processes run for real, without an engine: as whoever runs the tests.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..daemonfixture import Daemon, private_daemon

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def own() -> Iterator[Daemon]:
    with private_daemon() as daemon:
        yield daemon


def starts(daemon: Daemon) -> int:
    return len(daemon.json("audit", "ls", "--json", "--action", "daemon.started")["records"])


def test_status_starts_no_daemon_and_says_what_does(own: Daemon) -> None:
    done = own.cli("status")
    assert done.returncode == 125
    assert done.stderr == (
        f"eleagent: no daemon of yours is running (it would answer at {own.socket}): eleagent run starts one\n"
    )
    assert own.cli("status", "--short").stdout == "off\n"
    assert list(own.home.iterdir()) == []


def test_command_starts_a_daemon_says_so_once_and_names_its_log(own: Daemon) -> None:
    first, second = own.cli("ps"), own.cli("ps")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    (pid,) = own.parents()
    assert first.stderr == f"the daemon is ready (pid {pid}); its log is {own.home}/daemon.log\n{second.stderr}"
    assert own.cli("status", "--short").stdout == "idle\n"
    assert f"daemon     your own, at unix://{own.socket}" in own.cli("status").stdout


def test_clients_that_come_at_once_start_one_daemon(own: Daemon) -> None:
    clients = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "eleagent.cli.main", "ps", "--json"],
            env=own.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]  # fmt: skip
    for client in clients:
        out, err = client.communicate(timeout=50)
        assert (client.returncode, err) == (0, b"")
        assert json.loads(out)["sessions"] == []
    assert len(own.parents()) == 1
    assert starts(own) == 1


def test_dead_daemons_socket_is_no_obstacle(own: Daemon) -> None:
    own.socket.parent.mkdir(mode=0o777)
    own.socket.parent.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(own.socket))
    assert own.cli("ps").returncode == 0


def test_daemon_ends_unneeded_and_the_next_command_starts_another(own: Daemon) -> None:
    own.env["ELEAGENT_IDLE_S"] = "0.5"
    assert own.cli("ps").returncode == 0
    own.await_end()
    assert not own.socket.exists()
    assert "Traceback" not in own.log()
    own.env["ELEAGENT_IDLE_S"] = "60"
    assert own.cli("ps").returncode == 0
    assert starts(own) == 2


def test_client_that_meets_a_daemon_that_has_just_died_starts_no_second_one(own: Daemon) -> None:
    """Its parent, which is held up here, starts it again."""
    assert own.cli("ps").returncode == 0
    (parent,) = own.parents()
    os.kill(parent, signal.SIGSTOP)
    try:
        own.kill("eleagent_daemon.main")
        client = subprocess.Popen(
            [sys.executable, "-P", "-m", "eleagent.cli.main", "ps", "--json"],
            env=own.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(1.5)
        assert client.poll() is None, "it waits"
    finally:
        os.kill(parent, signal.SIGCONT)
    _, err = client.communicate(timeout=30)
    assert (client.returncode, err) == (0, b"")
    assert own.parents() == [parent]
    assert starts(own) == 2


def test_daemon_outlives_its_clients_terminal(own: Daemon) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-P", "-m", "eleagent.cli.main", "ps"]
        os.execve(command[0], command, own.env)
    said = b""
    while True:
        try:
            said += os.read(terminal, 65536)
        except OSError:
            break
    os.close(terminal)  # the kernel sends SIGHUP to what is still in its session
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    time.sleep(0.3)
    (parent,) = own.parents()
    for process in (parent, *own.pids("eleagent_daemon.main"), *own.pids("eleagent_daemon.launcher.main")):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        assert fields[4] == "0", "it has no controlling terminal"
        assert os.getsid(process) != os.getsid(0)
    assert own.cli("status").returncode == 0


def test_setting_that_stops_the_start_reaches_the_person_in_one_line(own: Daemon) -> None:
    own.env["ELEAGENT_SESSION_SLOTS"] = "0"
    done = own.cli("ps")
    assert done.returncode == 2
    assert done.stderr == "eleagent: your own daemon did not start: session.slots: must be more than 0, is 0\n"


def test_start_that_fails_in_the_daemon_names_its_log(own: Daemon) -> None:
    (own.home / "artefacts" / "state").mkdir(parents=True)
    (own.home / "artefacts" / "state" / "session_registry.db").write_bytes(b"no database" * 1000)
    (own.home / "artefacts" / "state" / "session_registry.db").chmod(0o666)
    done = own.cli("ps")
    assert done.returncode == 125
    assert done.stderr.startswith("eleagent: your own daemon did not start: ")
    assert done.stderr.endswith(f"(its log is {own.home}/daemon.log)\n")
    assert done.stderr.count("\n") == 1


def test_home_that_cannot_be_made_says_which_setting_to_change(own: Daemon) -> None:
    (own.home / "file").touch()
    own.env["ELEAGENT_HOME"] = str(own.home / "file" / "home")
    done = own.cli("ps")
    assert done.returncode == 2
    assert done.stderr == (
        f"eleagent: your own daemon did not start: home: {own.home}/file/home can't be used: Not a directory "
        f"({own.home}/file/home): set home (ELEAGENT_HOME) to a folder that you may write to\n"
    )


def test_socket_where_clients_do_not_look_is_refused(own: Daemon) -> None:
    own.env["ELEAGENT_SOCKET"] = "/tmp/elsewhere.sock"
    done = own.cli("ps")
    assert done.returncode == 2
    assert f"clients would not find /tmp/elsewhere.sock: they look at {own.socket}" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become two accounts")
def test_anothers_daemon_at_ones_own_place_is_not_spoken_to(own: Daemon) -> None:
    own.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(own.socket))
        own.socket.chmod(0o666)
        trap.listen()
        command = [sys.executable, "-P", "-c", TALK, str(own.socket)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.startswith(f"what answers at {own.socket} is not yours but uid 0's: set ELEAGENT_HOME to ")
        connection, _ = trap.accept()
        with connection:
            assert connection.recv(100) == b"", "nothing was said to it"


TALK = """
import os, sys
from pathlib import Path
from eleagent.client.api import Client
from eleagent.client.address import UnixSocket
from eleagent.errors import EleAgentError
from eleagent.operations.system import STATUS
client = Client(at=UnixSocket(sys.argv[1], own=True))
os.setresuid(65534, 65534, 65534)
try:
    client.call(STATUS)
except EleAgentError as error:
    print(error.message)
"""
