"""Which programs do sandboxes' users run, by the kernel's process events, where its audit can't be had?

Such an event has no arguments: they are read from /proc afterwards, where the process may have rewritten them, or be
gone. Whose a process is, is known by its parents, from the first of a sandbox on.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from eleagent.wire.observations import Arguments, Observer, ProgramExecuted
from eleagent_daemon.domain.observed import rfc3339
from eleagent_daemon.kernel.calls import command_line
from eleagent_daemon.kernel.netlink import CONNECTOR, HEADER, count_dropped, message, open_sockets, set_room
from eleagent_daemon.launcher.observe.records import ARGV_BYTES

ROOM_BYTES: Final = 16 << 20
PROCESSES_LIMIT: Final = 100_000
LOST: Final = "the programs of all sandboxes (process events that were lost)"

_PROC_GROUP: Final = 1
_CN_MSG: Final = struct.Struct("=4IHH")
_EVENT: Final = struct.Struct("=IIQ4I")
"""linux/connector.h and linux/cn_proc.h: what, cpu, time, and of the union the first four words."""
_LISTEN: Final = struct.pack("=I", 1)
_DONE: Final = 3
_FORK, _EXEC, _EXIT = 0x1, 0x2, 0x80000000
_MESSAGE_BYTES: Final = 256


class Events:
    """Process events of the whole host, of which those of watched sandboxes are told."""

    observer: Final = Observer.EVENTS

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._users: set[int] = set()
        self._processes: dict[int, int] = {}  # pid: the sandbox's user
        self._marks = itertools.count(1)
        self._marked = 0
        self._passed = 0
        self._dropped = 0

    @classmethod
    async def open(cls) -> Events:
        """Raises OSError where they can't be had."""
        (sock,) = await open_sockets(CONNECTOR, (_PROC_GROUP,))
        try:
            set_room(sock, ROOM_BYTES)
            listen = _CN_MSG.pack(1, 1, 0, 0, len(_LISTEN), 0) + _LISTEN
            sock.send(HEADER.pack(HEADER.size + len(listen), _DONE, 0, 0, 0) + listen)
            sock.setblocking(False)
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def read(self) -> Iterator[tuple[int, ProgramExecuted]]:
        try:
            _, body = message(self.sock.recv(_MESSAGE_BYTES))
        except BlockingIOError:
            self._passed = self._marked  # an event is there before the program runs
            raise
        if len(body) >= _CN_MSG.size + _EVENT.size:
            what, _, _, first, second, third, fourth = _EVENT.unpack_from(body, _CN_MSG.size)
            if what == _FORK and second in self._processes and third == fourth:
                self._adopt(third, self._processes[second])
            elif what == _EXIT and first == second:
                self._processes.pop(first, None)
            elif what == _EXEC:
                yield from self._executed(second)

    def mark(self) -> int:
        self._marked = next(self._marks)
        return self._marked

    @property
    def shared(self) -> bool:
        """Whose a process is, is always known here."""
        return False

    @property
    def passed(self) -> int:
        return self._passed

    def watch(self, uid: int, pid: int) -> None:
        self._users.add(uid)
        self._adopt(pid, uid)

    def unwatch(self, uid: int) -> None:
        self._users.discard(uid)
        self._processes = {pid: user for pid, user in self._processes.items() if user != uid}

    def check(self) -> list[tuple[str, int | None]]:
        if (dropped := count_dropped(self.sock)) == self._dropped:
            return []
        missed, self._dropped = dropped - self._dropped, dropped
        return [(LOST, missed)]

    def close(self) -> None:
        self.sock.close()

    def _adopt(self, pid: int, uid: int) -> None:
        self._processes[pid] = uid
        if len(self._processes) > PROCESSES_LIMIT:
            del self._processes[next(iter(self._processes))]

    def _executed(self, pid: int) -> Iterator[tuple[int, ProgramExecuted]]:
        status = _status(pid)
        uid = self._processes.get(pid, status.get("Uid", -1))
        if uid not in self._users:
            return
        self._adopt(pid, uid)
        argv, exe = command_line(pid), ""
        with suppress(OSError):
            exe = str(Path(f"/proc/{pid}/exe").readlink())
        if status.get("Uid", -1) != uid or not argv:  # it is gone, or was and its number is another's
            argv, exe = (), ""
        kept = [one.encode(errors="surrogateescape").decode(errors="backslashreplace") for one in argv]
        yield (
            uid,
            ProgramExecuted(
                at=rfc3339(time.time()),
                pid=pid,
                ppid=status.get("PPid", 0),
                exe=os.fsencode(exe).decode(errors="backslashreplace"),
                argv=_cut(kept),
                arguments=Arguments.LATE if argv else Arguments.UNKNOWN,
            ),
        )


def _status(pid: int) -> dict[str, int]:
    """Uid and PPid (proc_pid_status(5)); empty for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(fields[name].split()[0]) for name in ("Uid", "PPid") if name in fields}


def _cut(argv: list[str]) -> list[str]:
    kept, room = [], ARGV_BYTES
    for one in argv:
        if room <= 0:
            break
        kept.append(one[:room])
        room -= len(one) + 1
    return kept
