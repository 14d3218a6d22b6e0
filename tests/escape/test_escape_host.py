"""What can a local user who is nobody here do to sessions and the launcher, and a sandbox to what the host shares?"""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ..daemonfixture import Daemon, running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

_STRANGER = ("setpriv", "--reuid", "60001", "--regid", "60001", "--clear-groups")
_GRAB = "import fcntl,os,sys,time;f=os.open(sys.argv[1],os.O_RDONLY);fcntl.flock(f,fcntl.LOCK_EX);time.sleep(30)"
_TERMINALS = """
import os, time
held = 0
try:
    while held < 3500: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY); held += 1
except OSError: pass
print("held", held, flush=True)
"""
_TCP = """
import socket
listener = socket.create_server(("127.0.0.1", 0)); queued, kept = 0, []
while queued < 400 << 20 and len(kept) < 1500:
    caller = socket.socket(); caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    caller.settimeout(5); caller.connect(listener.getsockname()); kept += [caller, listener.accept()[0]]
    caller.setblocking(False)
    try:
        while True: queued += caller.send(bytes(65536))
    except BlockingIOError: pass
print(queued >> 20)
"""


@pytest.fixture(scope="module")
def attacked(docker_socket: str) -> Iterator[Daemon]:
    """A daemon whose launcher may be killed."""
    with running_daemon(docker_socket) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def victim(attacked: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session whose data lies below a folder that only its owner can enter; its key."""
    private = tmp_path_factory.mktemp("private")
    project = private / "project"
    project.mkdir()
    (project / "secret").write_text("data-secret")
    private.chmod(0o700)
    script = "echo disk-secret > $HOME/s; sync; echo ready; sleep 100"
    done = attacked.cli("run", "-d", "--data", str(project), "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    attacked.wait_for(key, "output.text")
    yield key
    attacked.cli("stop", key)
    attacked.cli("wait", key)


def stranger(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_STRANGER, *words], capture_output=True, text=True, check=False, timeout=30)


def test_stranger_finds_no_data_of_a_session_behind_its_mounts(attacked: Daemon, victim: str) -> None:
    mounted = attacked.home / "launcher" / "mnt" / victim / "data" / "0" / "secret"
    assert mounted.read_text() == "data-secret"
    assert stranger("cat", str(mounted)).stdout == ""


def test_stranger_reads_neither_disk_nor_record_nor_spool_of_a_session(attacked: Daemon, victim: str) -> None:
    launcher = attacked.home / "launcher"
    spooled = sorted((launcher / victim / "spool").iterdir())
    for path in (launcher / "disks" / f"{victim}.img", launcher / victim / "record.json", *spooled):
        assert path.exists()
        assert stranger("head", "-c", "4", str(path)).returncode != 0
    assert spooled
    assert {stat.S_IMODE(image.stat().st_mode) for image in (launcher / "disks").iterdir()} == {0o600}


def test_stranger_keeps_no_launcher_from_starting(attacked: Daemon) -> None:
    lock = attacked.home / "launcher" / "lock"
    with subprocess.Popen([*_STRANGER, sys.executable, "-c", _GRAB, str(lock)], stderr=subprocess.DEVNULL) as holder:
        time.sleep(1.0)
        killed = attacked.kill("eleagent_daemon.launcher.main")
        try:
            until, told = time.monotonic() + 15.0, f"pid {killed},"
            while told == "not reached" or f"pid {killed}," in told:
                assert time.monotonic() < until, told
                time.sleep(0.3)
                told = attacked.json("status", "--json")["launcher"]
        finally:
            holder.kill()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_sandbox_takes_no_more_terminals_than_its_own(attacked: Daemon) -> None:
    done = attacked.cli("run", "--", "python3", "-c", _TERMINALS)
    assert done.stdout == "held 64\n", done.stderr


def test_sandbox_queues_no_more_in_sockets_than_its_own(attacked: Daemon) -> None:
    """343 loopback sockets held 1.65 GB beside a memory limit of 256 MiB, where nothing counted them."""
    done = attacked.cli("run", "--", "python3", "-c", _TCP)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200
