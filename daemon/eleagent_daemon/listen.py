"""How does the daemon take its place and leave it: one a home, its socket never open wider than it stays, its start
announced?
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eleagent.errors import ConfigError, Conflict


@contextmanager
def hold_lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Raises Conflict when another daemon has this home, unless told to `wait`."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Conflict(f"a daemon is running already on {path.parent.parent.parent} (it holds {path})") from None
        yield


def held(path: Path) -> bool:
    """Whether somebody holds the lock at `path`."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def bind_socket(path: Path, *, gid: int | None = None, everybody: bool = False) -> socket.socket:
    """A listening Unix socket at `path`, of mode 0600, 0660 for the group `gid`, or 0666 where `everybody` of this
    machine may ask, and the kernel's word on who that is decides. It is bound under another name in
    its folder and renamed, so that nobody meets it with another mode; a dead daemon's is replaced (the caller holds the
    lock).

    Raises ConfigError when it can't be.
    """
    partial = path.with_name(f".{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        partial.unlink(missing_ok=True)
        listener.bind(str(partial))
        if gid is not None:
            if partial.stat().st_gid != gid:
                os.chown(partial, -1, gid)
            partial.chmod(0o660)
        if everybody:
            partial.chmod(0o666)
        listener.listen(128)
        partial.rename(path)
    except OSError as err:
        listener.close()
        partial.unlink(missing_ok=True)
        whose = f" for group {gid}" if gid is not None and isinstance(err, PermissionError) else ""
        raise ConfigError(f"socket: {path} can't be made{whose}: {err.strerror}") from None
    finally:
        os.umask(before)
    return listener


def remove_socket(path: Path) -> None:
    """Leave no dead socket behind (the caller holds the lock). One in a folder that is not ours stays."""
    with suppress(OSError):
        path.unlink()


def is_managed() -> bool:
    """Whether a service manager started us and waits for what we tell it."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str) -> None:
    """sd_notify(3): tell the service manager, where there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())
