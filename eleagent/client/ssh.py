"""How is a daemon reached through the user's own ssh? No port, no token: the far end's kernel says who calls.

`eleagent dial-stdio` runs at the far end and joins the connection to its daemon's socket. Keys, passwords, host keys
and jump hosts are ssh's business and its configuration's; what it asks, it asks on the terminal.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from eleagent.client.remote import Ssh
from eleagent.errors import DaemonUnreachable, EleAgentError, Unavailable

if TYPE_CHECKING:
    import ssl

_FAR_END: Final = "eleagent dial-stdio"
_OPTIONS: Final = (
    "RequestTTY=no",
    "EscapeChar=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
)
_KEPT_S: Final = 60
"""How long ssh keeps a connection for the next command (ControlPersist, ssh_config(5)): a person is asked once."""

_CONTROL_BYTES: Final = 60
"""The longest folder for ssh's own socket: its name and a suffix go behind it, within the 108 bytes of sun_path."""

_END_S: Final = 3.0
_TICK_S: Final = 0.01
_FAILED: Final = 255
"""ssh's own exit code; any other is the far end's command's (ssh(1))."""

_NOT_FOUND: Final = 127
_SAID_BYTES: Final = 4096


_SHELL: Final = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Ctrl-C is for the session that is followed: ssh, which carries it there, does not end by it."""


class _Line(NamedTuple):
    """One ssh: `said` is a file in memory with what it wrote to stderr."""

    pid: int
    said: int


class SshWay:
    def __init__(self, address: Ssh) -> None:
        self.host = self.server = "localhost"
        self.tls: ssl.SSLContext | None = None
        self.retry_s = 1.0
        self.worked = False
        self._address = address
        self._lines: list[_Line] = []

    def connect(self) -> socket.socket:
        """Our end of a pair of sockets, ssh at the other. That ssh fails shows when nothing answers (`why_lost`)."""
        if shutil.which("ssh") is None:
            raise Unavailable("ssh is not installed here: apt-get install openssh-client")
        self._lines = [line for line in self._lines if _reap(line) is None]
        ours, theirs = socket.socketpair()
        said = os.memfd_create("ssh")
        streams = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), fd) for fd in (0, 1)]
        command = [*_SHELL, *self._command()]
        with theirs:
            pid = os.posix_spawn(
                command[0], command, os.environ, file_actions=[*streams, (os.POSIX_SPAWN_DUP2, said, 2)]
            )
        self._lines.append(_Line(pid, said))
        return ours

    def explain(self, error: OSError) -> EleAgentError:
        return Unavailable(f"{self._address}: {error.strerror or error}")

    def headers(self) -> Mapping[str, str]:
        return {}

    def renew(self) -> bool:
        return False

    def why_lost(self) -> EleAgentError | None:
        """In ssh's own words, or the far end's. Before anything worked it is not worth trying again: a wrong password
        or host key stays wrong.
        """
        until = time.monotonic() + _END_S
        while time.monotonic() < until:
            for line in self._lines:
                if (ended := _reap(line)) is not None:
                    self._lines.remove(line)
                    code, words = ended
                    kind = DaemonUnreachable if self.worked else Unavailable
                    return kind(self._reason(code, words)) if code else None
            time.sleep(_TICK_S)
        return None

    def _reason(self, code: int, words: bytes) -> str:
        lines = [line.strip() for line in words.decode(errors="replace").splitlines()]
        said = "; ".join(line for line in lines if line) or f"it ended with {code}"
        if code == _FAILED:
            return f"{self._address} is not reached, says ssh: {said}"
        if code == _NOT_FOUND:
            return (
                f"{self._address}: there is no eleagent on the PATH that ssh gives you there ({said}): "
                "install it, or link it into /usr/local/bin"
            )
        return f"{self._address} says: {said.removeprefix('eleagent: ')}"

    def _command(self) -> list[str]:
        options = [f"-o{option}" for option in (*_OPTIONS, *self._shared())]
        user = ["-l", self._address.user] if self._address.user else []
        port = ["-p", str(self._address.port)] if self._address.port else []
        return ["ssh", *options, *user, *port, "--", self._address.server, _FAR_END]

    def _shared(self) -> tuple[str, ...]:
        """One connection for all commands of a minute, where a folder for its socket can be had."""
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        folder = Path(runtime or f"/tmp/eleagent-{os.getuid()}", *(["eleagent"] if runtime else []))  # noqa: S108
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
        except OSError:
            return ()
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or len(bytes(folder)) > _CONTROL_BYTES:
            return ()
        return ("ControlMaster=auto", f"ControlPath={folder}/%C", f"ControlPersist={_KEPT_S}")


def _reap(line: _Line) -> tuple[int, bytes] | None:
    """How an ssh ended and what it said, and nothing of it is kept; None while it runs."""
    pid, status = os.waitpid(line.pid, os.WNOHANG)
    if not pid:
        return None
    words = os.pread(line.said, _SAID_BYTES, 0)
    os.close(line.said)
    return os.waitstatus_to_exitcode(status), words
