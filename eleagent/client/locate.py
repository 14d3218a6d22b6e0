"""Which daemon does a client mean, and where is the one of this machine or of its own?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eleagent.client.address import Address, UnixSocket, parse_host

SERVICE_HOME: Final = Path("/var/lib/eleagent")
SERVICE_SOCKET: Final = Path("/run/eleagent/api.sock")
SERVICE_SETTINGS: Final = Path("/etc/eleagent")
"""Where it exists this machine has a daemon for all, and nobody's own is started behind its operator's back."""


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


def find_daemon(
    host: str | None = None,
    *,
    context: str | None = None,
    cacert: str | None = None,
    uid: int,
    environ: Mapping[str, str] = os.environ,
) -> Address:
    """The daemon that is meant: `host` or `context` (flags), $ELEAGENT_HOST, $ELEAGENT_CONTEXT, the context in use, and
    without any of them the one of this account (`find_local`).

    Raises ConfigError for a host of no known form, NotFound for a context that there is not.
    """
    if not context and (host := host or environ.get("ELEAGENT_HOST")):
        return parse_host(host, cacert=cacert)
    name = context or environ.get("ELEAGENT_CONTEXT")
    if name or _exists(contexts_file(environ)):
        from eleagent.client.contexts import Contexts

        if found := Contexts.load(environ).find(name):
            return parse_host(found.host, cacert=cacert or found.cacert)
    return find_local(uid=uid, environ=environ)


def client_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a client keeps what it knows."""
    config = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(config) / "eleagent"


def contexts_file(environ: Mapping[str, str] = os.environ) -> Path:
    return client_folder(environ) / "contexts.json"


def find_local(*, uid: int, environ: Mapping[str, str] = os.environ) -> UnixSocket:
    """This machine's daemon, else the caller's own, which $ELEAGENT_HOME names also beside this machine's."""
    if not environ.get("ELEAGENT_HOME"):
        if _exists(SERVICE_SETTINGS):
            return UnixSocket(SERVICE_SOCKET)
        if uid != 0 and _exists(SERVICE_SOCKET):
            return UnixSocket(SERVICE_SOCKET)
    return UnixSocket(default_socket(uid, environ), own=True)


def _exists(path: Path) -> bool:
    """Also where the way to it is closed to us: then there is something that is not ours."""
    try:
        os.stat(path)  # noqa: PTH116  # Path.exists raises where a folder can't be entered
    except PermissionError:
        return True
    except OSError:
        return False
    return True
