"""What does a person do about a daemon's socket that can't be used?"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final

from eleagent.client.address import UnixSocket
from eleagent.client.locate import SERVICE_SETTINGS, SERVICE_SOCKET
from eleagent.errors import DaemonUnreachable

START: Final = "eleagent daemon run -d"
PATH_LIMIT_BYTES: Final = 107
"""Of a Unix socket (unix(7))."""


def refused_way(address: UnixSocket, error: OSError) -> DaemonUnreachable:
    """The advice that belongs to a failed connect. Its field `command` is the command that the message ends with."""
    path, command = address.path, None
    match error:
        case FileNotFoundError() | ConnectionRefusedError() if address.own:
            advice = f"no daemon of yours is running (it would answer at {path}): eleagent run starts one"
        case FileNotFoundError() | ConnectionRefusedError() if path == SERVICE_SOCKET:
            sign = SERVICE_SETTINGS if Path(SERVICE_SETTINGS).is_dir() else path
            advice = (
                f"this machine's daemon is not running, and beside it ({sign}) nobody's own is started: "
                "as root, systemctl start eleagent or eleagent daemon run -d"
            )
        case FileNotFoundError():
            command = START
            advice = f"no daemon at {path}: start it with: {command}"
        case PermissionError():
            advice = f"no right to the daemon's socket {path}: {_who_may(Path(path))}"
        case ConnectionRefusedError():
            command = START
            advice = f"nothing answers at {path}, the daemon is not running: start it with: {command}"
        case TimeoutError():
            advice = f"the daemon at {path} does not answer in time"
        case _ if (size := len(os.fsencode(path))) > PATH_LIMIT_BYTES:
            advice = (
                f"the path of the daemon's socket {path} has {size} bytes, and a Unix socket's may have "
                f"{PATH_LIMIT_BYTES}: set ELEAGENT_HOME to a shorter one"
            )
        case _:
            advice = f"the daemon's socket {path} can't be used: {error.strerror or error}"
    return DaemonUnreachable(advice, socket=path, **({"command": command} if command is not None else {}))


def _who_may(path: Path) -> str:
    """Read from the socket, or from the folder on the way to it that keeps us out."""
    for place in (path, *path.parents):
        try:
            status = os.stat(place)  # noqa: PTH116  # no Path method says which of the two errors it was
        except OSError:
            continue
        if status.st_mode & (stat.S_IWGRP if place == path else stat.S_IXGRP) and status.st_gid != 0:
            group, me = _group(status.st_gid), _account(os.getuid())
            return f"it is open to the group {group}: ask for  sudo usermod -aG {group} {me}  and log in again"
        return f"use the account that runs the daemon ({_account(status.st_uid)}), or root"
    return "use the account that runs the daemon, or root"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
