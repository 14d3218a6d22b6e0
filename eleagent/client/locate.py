"""Where does the daemon live, and which one does a client mean?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from eleagent.errors import ConfigError

SERVICE_HOME: Final = Path("/var/lib/eleagent")
SERVICE_SOCKET: Final = Path("/run/eleagent/api.sock")
SERVICE_SETTINGS: Final = Path("/etc/eleagent")
"""Where it exists this machine has a daemon for all, and nobody's own is started behind its operator's back."""


class UnixSocket(NamedTuple):
    """`own`: the caller's private daemon, which a client starts where none answers."""

    path: Path
    own: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}"


Address = UnixSocket


def default_home(uid: int, environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder of a daemon that `uid` runs: $ELEAGENT_HOME, root's service, or the XDG state folder."""
    if home := environ.get("ELEAGENT_HOME"):
        return Path(home)
    if uid == 0:
        return SERVICE_HOME
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local/state")
    return Path(state) / "eleagent"


def default_socket(uid: int, environ: Mapping[str, str] = os.environ) -> Path:
    """The socket of a daemon that `uid` runs."""
    if uid == 0 and not environ.get("ELEAGENT_HOME"):
        return SERVICE_SOCKET
    return default_home(uid, environ) / "run" / "api.sock"


def find_daemon(host: str | None, *, uid: int, environ: Mapping[str, str] = os.environ) -> Address:
    """The daemon that is meant: `host` (a --host flag), $ELEAGENT_HOST, this machine's, else the caller's own.

    $ELEAGENT_HOME names the caller's own, also beside this machine's. Raises ConfigError for a host of no known form.
    """
    if host := host or environ.get("ELEAGENT_HOST"):
        return parse_host(host)
    if not environ.get("ELEAGENT_HOME"):
        if _exists(SERVICE_SETTINGS):
            return UnixSocket(SERVICE_SOCKET)
        if uid != 0 and _exists(SERVICE_SOCKET):
            return UnixSocket(SERVICE_SOCKET)
    return UnixSocket(default_socket(uid, environ), own=True)


def parse_host(host: str) -> Address:
    scheme, _, path = host.partition("://")
    if scheme != "unix" or not path.startswith("/"):
        raise ConfigError(f"the host {host!r} is not of the form unix:///PATH", host=host)
    return UnixSocket(Path(path))


def _exists(path: Path) -> bool:
    """Also where the way to it is closed to us: then there is something that is not ours."""
    try:
        os.stat(path)  # noqa: PTH116  # Path.exists raises where a folder can't be entered
    except PermissionError:
        return True
    except OSError:
        return False
    return True
