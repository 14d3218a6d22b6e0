"""Which system calls may a sandbox make, and does a filter that was found in the kernel mean the same?

`seccomp.json` beside this module is the one source for every runtime. Every condition on an argument is a mask and a
value over all 64 bits, so bits that the kernel would cut off can't carry a call past it, and no rule has two conditions
on one argument: an engine makes of those two rules, either of which is enough.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import product
from typing import Any, Final

import msgspec

from eleagent_daemon.domain.bpf import AUDIT_ARCH_I386, X32_BIT, Call, Program, denies, strictest

_ALL_BITS: Final = (1 << 64) - 1
_LOW_BITS: Final = (1 << 32) - 1
_CONDITION: Final = re.compile(r"([0-5])(?: & (~?)(0x[0-9a-f]+))? == (0x[0-9a-f]+|\d+)")
_PROBED_NUMBERS: Final = (*range(1024), 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Condition:
    """Holds when `args[argument] & mask == value`."""

    argument: int
    mask: int
    value: int

    def holds(self, args: tuple[int, ...]) -> bool:
        return (args[self.argument] if self.argument < len(args) else 0) & self.mask == self.value


Rule = tuple[Condition, ...]


@dataclass(frozen=True, eq=False)
class Profile:
    """`numbers` are the architecture's system calls by name; a call with `rules` needs all conditions of one of them.
    `errnos` are the answers to refused calls where that is not EPERM.

    `oci` is the profile as an OCI runtime and the Engine API take it, `sha256` the hex digest of that text.
    """

    arch: int
    numbers: dict[str, int]
    allowed: frozenset[int]
    rules: dict[int, tuple[Rule, ...]]
    errnos: dict[int, int]
    oci: str
    sha256: str

    def allows(self, call: Call) -> bool:
        if call.arch != self.arch:
            return False
        rules = self.rules.get(call.nr, ())
        return call.nr in self.allowed or any(all(part.holds(call.args) for part in rule) for rule in rules)

    def name(self, nr: int) -> str:
        return next((name for name, number in self.numbers.items() if number == nr), f"system call {nr:#x}")

    def probes(self) -> Iterator[Call]:
        """Calls that tell filters apart: every number with empty and with full arguments, other architectures' entries,
        and around each rule's boundaries."""
        for nr in _PROBED_NUMBERS:
            yield Call(nr, (0,) * 6, self.arch)
            yield Call(nr, (_ALL_BITS,) * 6, self.arch)
        for nr in range(600):
            yield Call(nr | X32_BIT, (0,) * 6, self.arch)
            yield Call(nr, (0,) * 6, AUDIT_ARCH_I386)
        for nr, rules in self.rules.items():
            for args in _around(rules):
                yield Call(nr, args, self.arch)


def _around(rules: tuple[Rule, ...]) -> Iterator[tuple[int, ...]]:
    """Arguments that meet each rule, each of them with every single bit of a judged argument turned over, and all
    combinations of the values that the rules name."""
    values: dict[int, set[int]] = {}
    for rule in rules:
        meeting = [0] * 6
        for part in rule:
            meeting[part.argument] = part.value
            values.setdefault(part.argument, {0, _ALL_BITS}).add(part.value)
        yield tuple(meeting)
        for part in rule:
            for bit in range(64):
                yield tuple(value ^ (1 << bit) if at == part.argument else value for at, value in enumerate(meeting))
    for combination in product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        yield tuple(chosen.get(at, 0) for at in range(6))


@lru_cache(maxsize=64)
def differences(filters: tuple[bytes, ...], profile: Profile) -> tuple[str, ...]:
    """System calls that the filters, taken together, let pass though the profile denies them; empty when none.

    Filters may be stricter than the profile: an older libseccomp does not know the newest calls, and a host may add a
    filter of its own. Raises FilterError. Judging takes 0.1 s, hence the cache: the same filters come every minute.
    """
    programs = [Program(instructions) for instructions in filters]
    found: dict[tuple[int, int], str] = {}
    for call in profile.probes():
        key = (call.arch, call.nr)
        if key not in found and not profile.allows(call) and not denies(strictest(programs, call)):
            arguments = ", ".join(f"{value:#x}" for value in call.args)
            entry = "i386 system call" if call.arch == AUDIT_ARCH_I386 else profile.name(call.nr)
            found[key] = f"{entry} {call.nr}: allowed with ({arguments})"
    return tuple(found.values())


@cache
def load() -> Profile:
    """Our pinned profile, the same object every time. Raises ValueError when the packaged file is damaged."""
    return parse(resources.files("eleagent_daemon.domain").joinpath("seccomp.json").read_bytes())


class _Architecture(msgspec.Struct, forbid_unknown_fields=True):
    oci: str
    audit: str


class _Except(msgspec.Struct, forbid_unknown_fields=True):
    argument: int
    low32: list[str]
    about: str


class _File(msgspec.Struct, forbid_unknown_fields=True, rename={"excepted": "except"}):
    """`numbers`: names in the order of their numbers, from the number that is the key. `errno`: calls with another
    answer than EPERM. `excepted`: calls that pass with every argument but those, whatever its high bits say."""

    about: str
    architecture: _Architecture
    numbers: dict[str, list[str]]
    allow: dict[str, list[str]]
    errno: dict[str, int]
    when: dict[str, dict[str, list[str]]]
    excepted: dict[str, _Except]


def parse(text: bytes) -> Profile:
    """A profile from the form of `seccomp.json`. Raises ValueError naming what is wrong."""
    file = msgspec.json.decode(text, type=_File)
    numbers = {
        name: nr for first, lines in file.numbers.items() for nr, name in enumerate(" ".join(lines).split(), int(first))
    }
    allow = [name for lines in file.allow.values() for line in lines for name in line.split()]
    rules = {name: tuple(_rule(name, parts) for parts in named.values()) for name, named in file.when.items()}
    for name, rest in file.excepted.items():
        masks = _other_than([int(value, 0) for value in rest.low32])
        rules[name] = tuple((Condition(rest.argument, mask, value),) for mask, value in masks)
    every = [*allow, *rules, *file.errno]
    if wrong := {name for name in every if name not in numbers or every.count(name) > 1}:
        raise ValueError(f"seccomp profile: {', '.join(sorted(wrong))}: no known system call, or named twice")
    oci = json.dumps(_oci(file.architecture.oci, allow, rules, file.errno))
    return Profile(
        arch=int(file.architecture.audit, 0),
        numbers=numbers,
        allowed=frozenset(numbers[name] for name in allow),
        rules={numbers[name]: of_call for name, of_call in rules.items()},
        errnos={numbers[name]: number for name, number in file.errno.items()},
        oci=oci,
        sha256=hashlib.sha256(oci.encode()).hexdigest(),
    )


def _rule(name: str, parts: list[str]) -> Rule:
    rule = tuple(_condition(name, part) for part in parts)
    if len({part.argument for part in rule}) != len(rule):
        raise ValueError(f"seccomp profile: {name}: {parts} has two conditions on one argument")
    return rule


def _condition(name: str, text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"seccomp profile: {name}: {text!r} is no condition")
    argument, inverted, mask_text, value = match.groups()
    mask = int(mask_text, 16) if mask_text else _ALL_BITS
    return Condition(int(argument), ~mask & _ALL_BITS if inverted else mask, int(value, 0))


def _other_than(values: list[int], bit: int = 31, prefix: int = 0) -> Iterator[tuple[int, int]]:
    """Masks and values that together match every 32-bit number except `values`: a filter has no "not equal" under a
    mask, and an engine would join two of them by "or"."""
    if not values:
        yield (_LOW_BITS >> (bit + 1) << (bit + 1), prefix)
    elif bit >= 0:
        for half in (0, 1 << bit):
            yield from _other_than([value for value in values if value & (1 << bit) == half], bit - 1, prefix | half)


def _oci(arch: str, allow: list[str], rules: dict[str, tuple[Rule, ...]], errno: dict[str, int]) -> dict[str, Any]:
    """The `linux.seccomp` object of the OCI runtime specification; the default errno of SCMP_ACT_ERRNO is EPERM."""
    conditional = [
        {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [_oci_argument(part) for part in rule]}
        for name, of_call in rules.items()
        for rule in of_call
    ]
    answered = [{"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number} for name, number in errno.items()]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [arch],
        "syscalls": [{"names": allow, "action": "SCMP_ACT_ALLOW"}, *conditional, *answered],
    }


def _oci_argument(part: Condition) -> dict[str, int | str]:
    if part.mask == _ALL_BITS:
        return {"index": part.argument, "value": part.value, "op": "SCMP_CMP_EQ"}
    return {"index": part.argument, "value": part.mask, "valueTwo": part.value, "op": "SCMP_CMP_MASKED_EQ"}
