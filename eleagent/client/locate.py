"""Which daemon does a client mean, and where is the one of this machine or of its own?

Paths are text here and in `address`: every command comes by, and pathlib costs each of them 5 ms.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from eleagent.client.address import Address, UnixSocket, parse_host

SERVICE_HOME: Final = "/var/lib/eleagent"
SERVICE_SOCKET: Final = "/run/eleagent/api.sock"
SERVICE_SETTINGS: Final = "/etc/eleagent"
"""Where it exists this machine has a daemon for all, and nobody's own is started behind its operator's back."""


def default_home(uid: int, environ: Mapping[str, str] = os.environ) -> str:
    """The state folder of a daemon that `uid` runs: $ELEAGENT_HOME, root's service, or the XDG state folder."""
    if home := environ.get("ELEAGENT_HOME"):
        return home
    if uid == 0:
        return SERVICE_HOME
    return f"{state_folder(environ)}/eleagent"


def state_folder(environ: Mapping[str, str] = os.environ) -> str:
    """The caller's own, by the XDG base directory specification."""
    return environ.get("XDG_STATE_HOME") or f"{_user_home(environ)}/.local/state"


def default_socket(uid: int, environ: Mapping[str, str] = os.environ) -> str:
    """The socket of a daemon that `uid` runs."""
    if uid == 0 and not environ.get("ELEAGENT_HOME"):
        return SERVICE_SOCKET
    return f"{default_home(uid, environ)}/run/api.sock"


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


def client_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Where a client keeps what it knows."""
    return f"{environ.get('XDG_CONFIG_HOME') or f'{_user_home(environ)}/.config'}/eleagent"


def contexts_file(environ: Mapping[str, str] = os.environ) -> str:
    return f"{client_folder(environ)}/contexts.json"


def find_local(*, uid: int, environ: Mapping[str, str] = os.environ) -> UnixSocket:
    """This machine's daemon, else the caller's own, which $ELEAGENT_HOME names also beside this machine's."""
    if not environ.get("ELEAGENT_HOME"):
        if _exists(SERVICE_SETTINGS):
            return UnixSocket(SERVICE_SOCKET)
        if uid != 0 and _exists(SERVICE_SOCKET):
            return UnixSocket(SERVICE_SOCKET)
    return UnixSocket(default_socket(uid, environ), own=True)


def _user_home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111


def _exists(path: str) -> bool:
    """Also where the way to it is closed to us: then there is something that is not ours."""
    try:
        os.stat(path)  # noqa: PTH116  # Path.exists raises where a folder can't be entered
    except PermissionError:
        return True
    except OSError:
        return False
    return True
