"""Where does the daemon live, and which socket does a client try?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eleagent.errors import ConfigError

SERVICE_HOME: Final = Path("/var/lib/eleagent")
SERVICE_SOCKET: Final = Path("/run/eleagent/api.sock")


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


def find_socket(host: str | None, *, uid: int, environ: Mapping[str, str] = os.environ) -> Path:
    """The socket to try: `host` (a --host flag), $ELEAGENT_HOST, the service's where it exists, else `uid`'s own.

    Raises ConfigError for a host that is not of the form unix:///PATH.
    """
    if host := host or environ.get("ELEAGENT_HOST"):
        scheme, _, path = host.partition("://")
        if scheme != "unix" or not path.startswith("/"):
            raise ConfigError(f"the host {host!r} is not of the form unix:///PATH", host=host)
        return Path(path)
    if not environ.get("ELEAGENT_HOME") and SERVICE_SOCKET.exists():
        return SERVICE_SOCKET
    return default_socket(uid, environ)
