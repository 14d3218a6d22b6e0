"""What do the kernel's audit records say about a program that was executed? Pure: bytes in, executions out.

Each execution is one SYSCALL record, one or more EXECVE records and a CWD record with the same serial number. A value
is quoted, or in hexadecimal where it holds a blank, a quote or anything that is not printable ASCII; a long argument
comes in pieces, `a1[0]=… a1[1]=…`, over several records (kernel/auditsc.c).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from eleagent.wire.observations import Arguments, ProgramExecuted
from eleagent_daemon.domain.observed import rfc3339

SYSCALL: Final = 1300
CWD: Final = 1307
EXECVE: Final = 1309
KINDS: Final = (SYSCALL, EXECVE, CWD)

ARGV_BYTES: Final = 32 * 1024
"""So much of a program's arguments is kept; of longer ones the length and digest of the whole are."""
ARGV_COUNT: Final = 4096
UNFINISHED_LIMIT: Final = 64

_STAMP: Final = re.compile(rb"audit\((\d+)\.(\d+):(\d+)\): ")
_FIELD: Final = re.compile(rb'(?:^| )(ppid|pid|uid|exe|cwd|key)=(?:"([^"]*)"|(\S*))')
_COUNT: Final = re.compile(rb"argc=(\d+)")
_ARGUMENT: Final = re.compile(rb'(?:^| )a(\d+)(?:\[\d+\])?=(?:"([^"]*)"|([0-9A-Fa-f]*))')


@dataclass(kw_only=True)
class _Execution:
    """`number` is the argument that pieces are being added to."""

    uid: int
    pid: int
    ppid: int
    exe: bytes
    at: str
    cwd: bytes = b""
    argc: int = -1
    number: int = -1
    kept: list[bytearray] = field(default_factory=list)
    kept_bytes: int = 0
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, number: int, piece: bytes) -> None:
        if number != self.number:
            self._end_argument()
            self.number = number
            if len(self.kept) < ARGV_COUNT and self.kept_bytes < ARGV_BYTES:
                self.kept.append(bytearray())
        self.size += len(piece)
        self.digest.update(piece)
        if len(self.kept) > number:
            room = piece[: ARGV_BYTES - self.kept_bytes]
            self.kept[number] += room
            self.kept_bytes += len(room)

    def finish(self) -> ProgramExecuted:
        self._end_argument()
        cut = self.kept_bytes + self.number + 1 < self.size or self.number >= len(self.kept)
        return ProgramExecuted(
            at=self.at,
            pid=self.pid,
            ppid=self.ppid,
            exe=shown(self.exe),
            argv=[shown(one) for one in self.kept],
            cwd=shown(self.cwd),
            # one of its records may have been lost
            arguments=Arguments.KERNEL if self.number + 1 == self.argc else Arguments.UNKNOWN,
            argv_bytes=self.size if cut else 0,
            argv_sha256=self.digest.hexdigest() if cut else "",
        )

    def _end_argument(self) -> None:
        if self.number >= 0:
            self.size += 1
            self.digest.update(b"\0")


class Assembler:
    """Puts records together. Keys with `prefix` are of our kind's rules: every other event of the host is none."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._open: dict[bytes, _Execution] = {}

    def take(self, kind: int, body: bytes) -> Iterator[tuple[int, ProgramExecuted]]:
        """Uid and execution, for each that `body` completes. A record that can't be read completes none."""
        stamp = _STAMP.match(body)
        if stamp is None:
            return
        serial, text = stamp[3], body[stamp.end() :]
        if kind == SYSCALL:
            if self._begin(serial, stamp, text) and len(self._open) > UNFINISHED_LIMIT:
                yield self._finish(next(iter(self._open)))
        elif serial in self._open:
            execution = self._open[serial]
            if kind == EXECVE:
                if (count := _COUNT.match(text)) is not None:
                    execution.argc = int(count[1])
                for found in _ARGUMENT.finditer(text):
                    execution.add(int(found[1]), _value(found[2], found[3]))
            elif kind == CWD:
                execution.cwd = _fields(text).get(b"cwd", b"")
                yield self._finish(serial)

    def rest(self) -> Iterator[tuple[int, ProgramExecuted]]:
        """What no more records will come of."""
        while self._open:
            yield self._finish(next(iter(self._open)))

    def _begin(self, serial: bytes, stamp: re.Match[bytes], text: bytes) -> bool:
        fields = _fields(text)
        if not fields.get(b"key", b"").startswith(self._prefix):
            return False
        try:
            uid, pid, ppid = (int(fields[name]) for name in (b"uid", b"pid", b"ppid"))
        except (KeyError, ValueError):
            return False
        at = float(b"%b.%b" % (stamp[1], stamp[2]))
        self._open[serial] = _Execution(uid=uid, pid=pid, ppid=ppid, exe=fields.get(b"exe", b""), at=rfc3339(at))
        return True

    def _finish(self, serial: bytes) -> tuple[int, ProgramExecuted]:
        execution = self._open.pop(serial)
        return execution.uid, execution.finish()


def shown(value: bytes | bytearray) -> str:
    return value.decode("utf-8", "backslashreplace")


def _fields(text: bytes) -> dict[bytes, bytes]:
    return {match[1]: _field(match[1], match[2], match[3]) for match in _FIELD.finditer(text)}


def _field(name: bytes, quoted: bytes | None, bare: bytes) -> bytes:
    return bare if quoted is None and name in (b"pid", b"ppid", b"uid") else _value(quoted, bare)


def _value(quoted: bytes | None, bare: bytes | None) -> bytes:
    if quoted is not None:
        return quoted
    try:
        return bytes.fromhex((bare or b"").decode("ascii"))
    except ValueError:
        return bare or b""
