"""Does a caller on the Unix socket live where the daemon does? Where the daemon is a person's, what runs in a sandbox
has that person's uid, and only its namespaces tell it from him.

What is asked here is asked of the kernel's own file system, which answers at once.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from pathlib import Path
from typing import Final

from eleagent.errors import Refused

_SO_PEERPIDFD: Final = 77  # asm-generic/socket.h, Linux 6.5
_CREDENTIALS: Final = struct.Struct("iII")
_KINDS: Final = ("user", "pid")


def credentials(peer: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of who connected, as this process's namespaces have them (SO_PEERCRED of unix(7))."""
    pid, uid, gid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid, gid


def check_neighbour(peer: socket.socket) -> None:
    """Raises Refused unless who connected is alive and in the user and the pid namespace of this process."""
    pid, uid, _ = credentials(peer)
    if pid == 0:
        raise Refused("the caller is in a pid namespace that the daemon can't see into: call from outside of it")
    process = _pin(peer, pid)
    try:
        strange = _strange(pid, uid)
        ended = bool(select.select([process], [], [], 0)[0])
    except (FileNotFoundError, ProcessLookupError):
        strange, ended = "", True
    finally:
        os.close(process)
    if ended:
        raise Refused(f"the caller (pid {pid}) ended before it could be looked at")
    if strange:
        raise Refused(
            f"the caller (pid {pid}, uid {uid}) is in another {strange} namespace than the daemon, as a sandbox or a "
            "container is: call from outside of it"
        )


def _pin(peer: socket.socket, pid: int) -> int:
    """A descriptor of the very process that connected; of whoever has its number now on kernels that tell no more."""
    try:
        return peer.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        pass
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise Refused(f"the caller (pid {pid}) ended before it could be looked at") from None


def _strange(pid: int, uid: int) -> str:
    """Which namespace of the process is not ours; empty where both are."""
    for kind in _KINDS:
        try:
            if Path(f"/proc/{pid}/ns/{kind}").stat().st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino:
                return kind
        except PermissionError:
            # Root's processes show their namespaces to root alone; how deep they are in pid namespaces everybody sees.
            if uid == os.getuid():
                return kind
            lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
            numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
            return "" if len(numbers) == 1 else "pid"
    return ""
