"""What does a seccomp filter answer to a system call?

An interpreter for the classic BPF that the kernel takes as a seccomp filter (Documentation/networking/filter.rst,
include/uapi/linux/seccomp.h), so that a filter is judged by what it means, whichever compiler wrote it.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

AUDIT_ARCH_X86_64: Final = 0xC000003E
AUDIT_ARCH_I386: Final = 0x40000003
X32_BIT: Final = 0x40000000

RET_KILL_PROCESS: Final = 0x80000000
RET_KILL_THREAD: Final = 0x00000000
RET_TRAP: Final = 0x00030000
RET_ERRNO: Final = 0x00050000
RET_ALLOW: Final = 0x7FFF0000
_RET_ACTION: Final = 0xFFFF0000
_DENYING: Final = frozenset({RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO})

INSTRUCTION: Final = struct.Struct("=HBBI")
_WORD: Final = 0xFFFFFFFF
_ALU: Final[dict[int, Callable[[int, int], int]]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: lambda a, b: a << b if b < 32 else 0,
    0x70: lambda a, b: a >> b if b < 32 else 0,
    0x80: lambda a, _: -a,
    0xA0: operator.xor,
}
_JUMP: Final[dict[int, Callable[[int, int], int]]] = {
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: operator.and_,
}


class Call(NamedTuple):
    """What a filter sees of a system call (struct seccomp_data, without the instruction pointer, which is 0 here)."""

    nr: int
    args: tuple[int, ...] = ()
    arch: int = AUDIT_ARCH_X86_64

    def words(self) -> list[int]:
        """The struct as 16 words of 32 bits in little-endian order."""
        words = [self.nr, self.arch, 0, 0]
        for argument in (*self.args, *(0,) * (6 - len(self.args))):
            words += (argument & _WORD, argument >> 32)
        return words


class FilterError(ValueError):
    """Bytes that the kernel would not have taken as a seccomp filter."""


class Program:
    """One filter, from its instructions as PTRACE_SECCOMP_GET_FILTER hands them out. Raises FilterError."""

    def __init__(self, instructions: bytes) -> None:
        if not instructions or len(instructions) % INSTRUCTION.size:
            raise FilterError(f"{len(instructions)} bytes are no sequence of BPF instructions")
        self._code = [
            (code, at + 1 + on_true, at + 1 + on_false, k)
            for at, (code, on_true, on_false, k) in enumerate(INSTRUCTION.iter_unpack(instructions))
        ]

    def run(self, call: Call) -> int:
        """The filter's return value, action and data. Raises FilterError where the kernel would have refused it."""
        data, memory = call.words(), [0] * 16
        code, a, x, at = self._code, 0, 0, 0
        try:
            while True:
                op, on_true, on_false, k = code[at]
                at += 1
                kind = op & 0x07
                if op == 0x15:  # JEQ K first: most of what libseccomp writes
                    at = on_true if a == k else on_false
                elif op == 0x20:
                    a = data[k >> 2]
                elif op == 0x05:
                    at += k
                elif kind == 0x05:
                    at = on_true if _JUMP[op & 0xF0](a, x if op & 0x08 else k) else on_false
                elif kind == 0x06:
                    return a if op & 0x18 == 0x10 else k
                elif kind == 0x04:
                    a = _arithmetic(op, a, x if op & 0x08 else k)
                elif kind == 0x00:
                    a = _load(op, k, memory)
                elif kind == 0x01:
                    x = _load(op, k, memory)
                elif kind in {0x02, 0x03}:
                    memory[k] = a if kind == 0x02 else x
                elif op & 0xF8:
                    a = x
                else:
                    x = a
        except (IndexError, KeyError) as error:
            raise FilterError(f"instruction {at - 1} is none of a seccomp filter") from error


def _arithmetic(op: int, a: int, b: int) -> int:
    if op & 0xF0 == 0x30:
        return a // b if b else 0
    return _ALU[op & 0xF0](a, b) & _WORD


def _load(op: int, k: int, memory: list[int]) -> int:
    if op & 0xE0 == 0x60:
        return memory[k]
    return {0x00: k, 0x80: 64}[op & 0xE0]  # an immediate; the length of the data


def strictest(filters: Iterable[Program], call: Call) -> int:
    """What the kernel does when several filters are loaded: the action that comes first in its order of precedence."""
    return min((program.run(call) for program in filters), key=_precedence, default=RET_ALLOW)


def denies(answer: int) -> bool:
    """Whether the call is surely not made. Under TRACE and USER_NOTIF somebody else decides; LOG lets it pass."""
    return answer & _RET_ACTION in _DENYING


def _precedence(answer: int) -> int:
    action = answer & _RET_ACTION
    return action - (1 << 32) if action >> 31 else action
