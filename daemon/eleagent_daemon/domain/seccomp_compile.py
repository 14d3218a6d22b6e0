"""What are the BPF instructions of a seccomp profile, for a runtime that hands a filter to the kernel itself?

A binary search over the system call's number, whose leaves answer or look at arguments (struct seccomp_data of
linux/seccomp.h, little-endian). Numbers of the x32 entry lie behind the last one and are refused as unknown.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import cache
from typing import Final

from eleagent_daemon.domain.bpf import INSTRUCTION, RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS
from eleagent_daemon.domain.seccomp import Condition, Profile, Rule

_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

_NUMBER_AT: Final = 0
_ARCH_AT: Final = 4
_ARGUMENTS_AT: Final = 16
_WORD: Final = 0xFFFFFFFF
_NEAR: Final = 255
"""A conditional jump's distance is one byte."""

Instruction = tuple[int, int, int, int]


@cache
def compile_filter(profile: Profile) -> bytes:
    """The filter as bwrap --seccomp and prctl(2) take it. Another architecture's call ends the process."""
    code = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IF_EQUAL, 1, 0, profile.arch),
        (_RETURN, 0, 0, RET_KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        *_search(list(_intervals(profile))),
    ]
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in code)


def _intervals(profile: Profile) -> Iterator[tuple[int, list[Instruction]]]:
    """First numbers, ascending from 0, and what is done from there to the next."""
    refused = _answer(RET_ERRNO | errno.EPERM)
    last: list[Instruction] = []
    for number in range(max(profile.numbers.values()) + 2):
        if number in profile.allowed:
            leaf = _answer(RET_ALLOW)
        elif number in profile.rules:
            leaf = [*(step for rule in profile.rules[number] for step in _try(rule)), *refused]
        else:
            leaf = _answer(RET_ERRNO | profile.errnos.get(number, errno.EPERM))
        if leaf != last:
            yield number, leaf
        last = leaf


def _search(intervals: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(intervals) == 1:
        return intervals[0][1]
    middle = len(intervals) // 2
    low, high = _search(intervals[:middle]), _search(intervals[middle:])
    first = intervals[middle][0]
    if len(low) <= _NEAR:
        return [(_IF_AT_LEAST, len(low), 0, first), *low, *high]
    return [(_IF_AT_LEAST, 0, 1, first), (_JUMP, 0, 0, len(low)), *low, *high]


def _try(rule: Rule) -> list[Instruction]:
    """Allow where all conditions hold, else fall through."""
    steps = [step for condition in rule for step in _compare(condition)]
    length = len(steps) + 1  # with the answer at its end
    resolved = [
        (code, on_true, length - at - 1 if code == _IF_EQUAL else on_false, value)
        for at, (code, on_true, on_false, value) in enumerate(steps)
    ]
    return [*resolved, *_answer(RET_ALLOW)]


def _compare(condition: Condition) -> Iterator[Instruction]:
    """Both halves of an argument, as far as the mask looks at them; a comparison that fails is resolved by `_try`."""
    for half in (0, 1):
        mask, value = (condition.mask >> 32 * half) & _WORD, (condition.value >> 32 * half) & _WORD
        if mask:
            yield (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument + 4 * half)
            if mask != _WORD:
                yield (_AND, 0, 0, mask)
            yield (_IF_EQUAL, 0, 0, value)


def _answer(value: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, value)]
