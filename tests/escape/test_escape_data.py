"""Is data a one-way street, also for what the host makes in it while a session runs?"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

from ..daemonfixture import Daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

_LISTED = """
import errno, os, socket, sys, time
while "late" not in os.listdir("/data"): time.sleep(0.05)
"""
_CALL = (
    _LISTED
    + """
caller = socket.socket(socket.AF_UNIX, int(sys.argv[1]))
try:
    caller.connect("/data/late")
    print("connected", socket.recv_fds(caller, 1, 1), flush=True)
except OSError as error:
    print("refused", errno.errorcode[error.errno], flush=True)
"""
)
_WRITE = (
    _LISTED
    + """
try:
    os.write(os.open("/data/late", os.O_WRONLY | os.O_NONBLOCK), b"out")
    print("written", flush=True)
except OSError as error:
    print("refused", errno.errorcode[error.errno], flush=True)
"""
)
_READ = (
    _LISTED
    + """
late = os.open("/data/late", os.O_RDONLY | os.O_NONBLOCK)
time.sleep(1)
print("read", os.read(late, 9), flush=True)
"""
)
_LOCK = """
import fcntl, os, time
fcntl.flock(os.open("/data/file", os.O_RDONLY), fcntl.LOCK_EX); print("locked", flush=True); time.sleep(60)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    return folder


def start(daemon: Daemon, data: Path, program: str, *arguments: str) -> str:
    done = daemon.cli("run", "-d", "--data", str(data), "--", "python3", "-c", program, *arguments)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    daemon.wait_for(key, "session.started")
    return key


def said(daemon: Daemon, key: str) -> str:
    until = time.monotonic() + 40.0
    while time.monotonic() < until:
        text = "".join(each["data"]["text"] for each in daemon.events(key) if each["type"] == "output.text")
        if "\n" in text:
            return text.strip()
        time.sleep(0.1)
    raise AssertionError(f"{key} said nothing: {daemon.events(key)}")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM], ids=lambda k: k.name)
def test_data_leads_to_no_socket_that_is_made_after_the_start(
    daemon: Daemon, data: Path, kind: socket.SocketKind
) -> None:
    """Not even an accomplice's, who would lend a descriptor (a door of another session) to whoever connects."""
    key = start(daemon, data, _CALL, str(int(kind)))
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(str(data / "late"))
        (data / "late").chmod(0o777)
        if kind != socket.SOCK_DGRAM:
            listener.listen()
        assert said(daemon, key) == "refused ECONNREFUSED"


def test_data_leads_into_no_fifo_that_is_made_after_the_start(daemon: Daemon, data: Path) -> None:
    key = start(daemon, data, _WRITE)
    os.mkfifo(data / ".late")
    (data / ".late").chmod(0o666)
    held = os.open(data / ".late", os.O_RDWR | os.O_NONBLOCK)
    (data / ".late").rename(data / "late")
    try:
        assert said(daemon, key).startswith("refused")
        with pytest.raises(BlockingIOError):
            os.read(held, 9)
    finally:
        os.close(held)


def test_data_leads_out_of_no_fifo_that_is_made_after_the_start(daemon: Daemon, data: Path) -> None:
    key = start(daemon, data, _READ)
    os.mkfifo(data / ".late")
    (data / ".late").chmod(0o666)
    held = os.open(data / ".late", os.O_RDWR | os.O_NONBLOCK)
    os.write(held, b"in")
    (data / ".late").rename(data / "late")
    try:
        assert said(daemon, key) == "read b''"
        assert os.read(held, 9) == b"in"
    finally:
        os.close(held)


def test_data_locked_inside_is_not_locked_for_the_host(daemon: Daemon, data: Path) -> None:
    (data / "file").touch(mode=0o644)
    key = start(daemon, data, _LOCK)
    assert said(daemon, key) == "locked"
    with (data / "file").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    daemon.cli("stop", key)
