"""Which seccomp filters does a process really carry, as the kernel hands them out?

PTRACE_SECCOMP_GET_FILTER (ptrace(2)) wants a tracer with CAP_SYS_ADMIN. The tracer is a child made for the attestation:
when it dies, at whatever point, the kernel lets the traced process go on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from dataclasses import dataclass
from typing import Final

from eleagent_daemon.domain.bpf import INSTRUCTION

_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_DETACH: Final = 17
_GET_FILTER: Final = 0x420C
_WAIT_ALL: Final = 0x40000000  # __WALL: the process is no child of ours
_STOP_WITHIN_S: Final = 1.0
_POLL_S: Final = 0.001


@dataclass(frozen=True)
class Filters:
    """`programs` are the instructions of each filter, None where they could not be read; `reason` then says why."""

    programs: tuple[bytes, ...] | None
    reason: str = ""


def read_filters(pid: int) -> Filters:
    """The filters of process `pid`, which is stopped for less than a millisecond and gets no signal.

    Blocks for at most about a second (a frozen process does not stop).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ptrace = libc.ptrace
    ptrace.restype = ctypes.c_long
    ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

    def call(request: int, at: int = 0, buffer: ctypes.Array[ctypes.c_char] | None = None) -> int:
        answer = int(ptrace(request, pid, at, buffer))
        if answer < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return answer

    try:
        call(_SEIZE)
        call(_INTERRUPT)
        if not _stopped(pid):
            return Filters(None, f"process {pid} did not stop within {_STOP_WITHIN_S:g} s")
        programs: list[bytes] = []
        try:
            while True:
                buffer = ctypes.create_string_buffer(call(_GET_FILTER, len(programs)) * INSTRUCTION.size)
                call(_GET_FILTER, len(programs), buffer)
                programs.append(buffer.raw)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EINVAL}:  # no further filter; no filter at all
                raise
        finally:
            call(_DETACH)
        return Filters(tuple(programs))
    except OSError as error:
        return Filters(None, f"ptrace: {error.strerror}")


def _stopped(pid: int) -> bool:
    deadline = time.monotonic() + _STOP_WITHIN_S
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG | _WAIT_ALL)
        if found and os.WIFSTOPPED(status):
            if status >> 16 == 0 and os.WSTOPSIG(status) != signal.SIGTRAP:
                continue
            return True
        time.sleep(_POLL_S)
    return False
