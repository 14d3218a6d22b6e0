"""Is the daemon's socket never open wider than it stays, and its home held by one?"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from eleagent.errors import ConfigError, Conflict
from eleagent_daemon.listen import bind_socket, hold_lock, notify


def modes_seen(folder: Path, stop: threading.Event) -> set[int]:
    """Modes of everything that ever was in the folder, as fast as we can look. None may be open to a wrong group."""
    seen: set[int] = set()
    while not stop.is_set():
        for path in folder.iterdir():
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            assert not status.st_mode & 0o070 or status.st_gid == 4100
            seen.add(status.st_mode & 0o777)
    return seen


def test_bind_socket_is_never_open_to_others(tmp_path: Path) -> None:
    stop, seen = threading.Event(), set()
    watcher = threading.Thread(target=lambda: seen.update(modes_seen(tmp_path, stop)))
    before = os.umask(0)
    try:
        watcher.start()
        for number in range(200):
            bind_socket(tmp_path / f"{number % 5}.sock").close()
    finally:
        os.umask(before)
        stop.set()
        watcher.join()
    assert seen == {0o600}


@pytest.mark.skipif(os.getuid() != 0, reason="gives a socket to another group")
def test_bind_socket_of_a_group_is_never_open_to_another(tmp_path: Path) -> None:
    stop, seen = threading.Event(), set()
    watcher = threading.Thread(target=lambda: seen.update(modes_seen(tmp_path, stop)))
    watcher.start()
    for number in range(200):
        bind_socket(tmp_path / f"{number % 5}.sock", gid=4100).close()
    stop.set()
    watcher.join()
    assert seen == {0o600, 0o660}
    assert {path.stat().st_gid for path in tmp_path.iterdir()} == {4100}


def test_bind_socket_for_everybody_of_the_machine(tmp_path: Path) -> None:
    with bind_socket(tmp_path / "api.sock", everybody=True):
        assert (tmp_path / "api.sock").stat().st_mode & 0o777 == 0o666


def test_bind_socket_gives_the_umask_back(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        bind_socket(tmp_path / "s").close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_bind_socket_replaces_a_dead_daemons(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bind_socket(path).close()
    # What a daemon of our pid left that died between bind and rename.
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path.with_name(f".{os.getpid()}")))
    stale.close()
    with bind_socket(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["s", "x" * 40])
def test_bind_socket_fits_whatever_the_configuration_takes(name: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short) / ("d" * (100 - len(short) - len(name) - 2))
        folder.mkdir()
        assert len(str(folder / name)) == 100
        bind_socket(folder / name).close()
        assert (folder / name).is_socket()


def test_bind_socket_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        bind_socket(tmp_path / "none" / "api.sock")


def test_hold_lock_is_one_daemons(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    with hold_lock(path):
        with pytest.raises(Conflict, match=r"running already .*daemon\.lock"), hold_lock(path):
            pass
        code = f"import fcntl; fcntl.flock(open({str(path)!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert (
            b"BlockingIOError" in subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr
        )
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_tells_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"eleagent-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
