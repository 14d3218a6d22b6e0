"""Which programs do sandboxes' users run, by the kernel's audit?"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from typing import Final

from eleagent.wire.observations import Observer, ProgramExecuted
from eleagent_daemon.kernel.netlink import AUDIT, ask, count_dropped, keep_only, message, open_sockets, set_room
from eleagent_daemon.launcher.observe.records import KINDS, Assembler
from eleagent_daemon.launcher.observe.rules import PREFIX, Rules

READLOG_GROUP: Final = 1
"""The multicast group that every reader may listen to: an auditd of the host keeps its own place."""
MARK: Final = 1121
"""AUDIT_TRUSTED_APP: a record that an application writes; it comes to us behind all that the kernel wrote before."""
ROOM_BYTES: Final = 32 << 20
_RECORD_BYTES: Final = 1 << 15
LOST: Final = "the programs of all sandboxes (lost records of the kernel; three tell of one program)"


class Audit:
    """Records of the read-log group that our rule brought about. Opened and armed by `open`."""

    observer: Final = Observer.AUDIT

    def __init__(self, *, control: socket.socket, listening: socket.socket, rules: Rules) -> None:
        self.sock = listening
        self._control = control
        self._rules = rules
        self._assembler = Assembler(PREFIX)
        self._marks = itertools.count(1)
        self._passed = 0
        self._dropped = 0
        self._lost = rules.lost()

    @classmethod
    async def open(cls, installation: str) -> Audit:
        """Raises OSError or Unavailable where audit can't be had: no root, no such kernel, or locked."""
        control, listening = await open_sockets(AUDIT, (0, READLOG_GROUP))
        try:
            keep_only(listening, (*KINDS, MARK))
            set_room(listening, ROOM_BYTES)
            listening.setblocking(False)
            rules = Rules(sock=control, installation=installation)
            rules.arm()
            return cls(control=control, listening=listening, rules=rules)
        except BaseException:
            control.close()
            listening.close()
            raise

    def read(self) -> Iterator[tuple[int, ProgramExecuted]]:
        """What one datagram completes. Raises BlockingIOError when there is none, OSError when some found no room."""
        kind, body = message(self.sock.recv(_RECORD_BYTES))
        if kind == MARK:
            self._passed = max(self._passed, self._mark_in(body))
            return iter(())
        return self._assembler.take(kind, body)

    def mark(self) -> int:
        """Write a mark behind what the kernel has written so far; `passed` reaches its number."""
        number = next(self._marks)
        text = f"op=observe key={self._rules.key} mark={number}\0"
        ask(self._control, MARK, text.encode())
        return number

    @property
    def shared(self) -> bool:
        return self._rules.shared

    @property
    def passed(self) -> int:
        return self._passed

    def watch(self, uid: int, pid: int) -> None:
        """Nothing to do: the rule is for all users of the pool."""

    def unwatch(self, uid: int) -> None:
        """Likewise."""

    def check(self) -> list[tuple[str, int | None]]:
        """What was not watched since the last time, and how many records of it were lost."""
        gaps: list[tuple[str, int | None]] = []
        if (dropped := count_dropped(self.sock)) != self._dropped:
            gaps.append((LOST, dropped - self._dropped))
            self._dropped = dropped
        if (lost := self._rules.lost()) != self._lost:
            gaps.append((LOST, (lost - self._lost) & 0xFFFFFFFF))
            self._lost = lost
        if self._rules.restore():
            gaps.append(("the programs of all sandboxes (somebody removed the rule or switched audit off)", None))
        return gaps

    def close(self) -> None:
        self._rules.disarm()
        self.sock.close()
        self._control.close()

    def _mark_in(self, body: bytes) -> int:
        head, _, number = body.rpartition(b" mark=")
        digits = number.rstrip(b"'\0\n ")
        return int(digits) if digits.isdigit() and head.endswith(b"key=" + self._rules.key.encode()) else 0
