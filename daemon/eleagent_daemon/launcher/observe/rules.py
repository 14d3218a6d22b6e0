"""How is the kernel's audit brought to tell of the programs that sandboxes' users run, and left as it was found?"""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from eleagent.errors import Unavailable
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.kernel.calls import start_ticks
from eleagent_daemon.kernel.netlink import DONE, ask

log = logging.getLogger(__name__)

_GET: Final = 1000
_SET: Final = 1001
_ADD_RULE: Final = 1011
_DEL_RULE: Final = 1012
_LIST_RULES: Final = 1013
_STATUS: Final = struct.Struct("=7I16x")
"""linux/audit.h, struct audit_status: mask, enabled, failure, pid, rate_limit, backlog_limit, lost, …"""
_STATUS_ENABLED: Final = 1

_FILTER_EXIT, _ALWAYS = 4, 2
_UID, _ARCH, _SUCCESS, _FILTERKEY = 1, 11, 104, 210
_EQUAL, _AT_LEAST, _AT_MOST = 0x40000000, 0x60000000, 0x50000000
_RULE: Final = struct.Struct("=3I64I64I64I64II")
"""struct audit_rule_data: flags, action, field_count, mask, fields, values, fieldflags, buflen; the key follows."""
_CALLS: Final = {"x86_64": (0xC000003E, (59, 322)), "aarch64": (0xC00000B7, (221, 281))}
"""Architecture, and its numbers of execve and execveat; a sandbox's seccomp profile refuses every other architecture.
"""
PREFIX: Final = "eleagent-"
_KEY: Final = re.compile(PREFIX + r"(.+)-(\d+)-(\d+)")


class _Status(NamedTuple):
    """`auditd` is the pid of whoever takes the records, 0: nobody."""

    enabled: int
    auditd: int
    lost: int


@dataclass
class Rules:
    """One rule for all users of the pool, under a key that names its maker: process and start time.

    `shared`: another launcher has such a rule, too; of a program that both match the kernel tells once, under either
    key.
    """

    sock: socket.socket
    installation: str
    key: str = field(init=False)
    shared: bool = False
    _enabled_by_us: bool = False
    _armed: bool = False

    def __post_init__(self) -> None:
        self.key = f"{PREFIX}{self.installation[:128]}-{os.getpid()}-{start_ticks(os.getpid())}"

    def arm(self) -> None:
        """Clear away rules whose makers are gone, and set ours. Idempotent. Raises OSError, Unavailable."""
        if self._armed:
            return
        if platform.machine() not in _CALLS:
            raise Unavailable(f"no rule is known for the architecture {platform.machine()}")
        self._clear_stale(self._list())
        ask(self.sock, _ADD_RULE, self._rule())
        self._armed = True
        self._enable()

    def disarm(self) -> None:
        """Remove ours; switch audit off where we switched it on and nobody has begun to use it since."""
        if not self._armed:
            return
        self._armed = False
        try:
            ask(self.sock, _DEL_RULE, self._rule())
            if self._enabled_by_us and not self._status().auditd and not self._list():
                self._set_enabled(0)
        except OSError as error:
            log.warning("the audit rule %s could not be removed: %s (auditctl -D -k %s)", self.key, error, self.key)
        self._enabled_by_us = False

    def lost(self) -> int:
        """Records that the kernel had no room for, since the host was started; of anybody's."""
        return self._status().lost

    def restore(self) -> bool:
        """Whether our rule or audit itself had to be brought back."""
        rules = self._list()
        self._clear_stale(rules)
        gone = not any(key_of(rule) == self.key for rule in rules)
        if gone:
            ask(self.sock, _ADD_RULE, self._rule())
        return self._enable() or gone

    def _enable(self) -> bool:
        if self._status().enabled:
            return False
        self._set_enabled(1)
        self._enabled_by_us = True
        return True

    def _set_enabled(self, value: int) -> None:
        ask(self.sock, _SET, _STATUS.pack(_STATUS_ENABLED, value, 0, 0, 0, 0, 0))

    def _status(self) -> _Status:
        _, enabled, _, auditd, _, _, lost = _STATUS.unpack_from(ask(self.sock, _GET, last=_GET)[0])
        return _Status(enabled, auditd, lost)

    def _clear_stale(self, rules: list[bytes]) -> None:
        self.shared = False
        for rule in rules:
            found = _KEY.fullmatch(key_of(rule))
            if found is None or found[0] == self.key:
                continue
            if _lives(int(found[2]), int(found[3])):
                self.shared = True
            else:
                log.warning("removing the audit rule %s of a launcher that is gone", found[0])
                ask(self.sock, _DEL_RULE, rule)

    def _list(self) -> list[bytes]:
        return ask(self.sock, _LIST_RULES, last=DONE)

    def _rule(self) -> bytes:
        arch, calls = _CALLS[platform.machine()]
        key = self.key.encode()
        mask = [0] * 64
        for number in calls:
            mask[number // 32] |= 1 << number % 32
        fields = (
            (_ARCH, arch, _EQUAL),
            (_SUCCESS, 1, _EQUAL),
            (_UID, POOL_FIRST_UID, _AT_LEAST),
            (_UID, POOL_FIRST_UID + POOL_SIZE - 1, _AT_MOST),
            (_FILTERKEY, len(key), _EQUAL),
        )
        columns = [[one[column] for one in fields] + [0] * (64 - len(fields)) for column in range(3)]
        return (
            _RULE.pack(_FILTER_EXIT, _ALWAYS, len(fields), *mask, *columns[0], *columns[1], *columns[2], len(key)) + key
        )


def key_of(rule: bytes) -> str:
    """The key of a rule that the kernel lists; it is the only text that ours have. Empty where there is none."""
    words = _RULE.unpack_from(rule)
    at = _RULE.size
    for kind, value in zip(words[67:131][: words[2]], words[131:195], strict=False):
        if kind == _FILTERKEY:
            return rule[at : at + value].decode(errors="replace")
        if kind in _TEXTS:
            at += value
    return ""


_TEXTS: Final = frozenset({*range(13, 18), *range(19, 24), 105, 107, 112})
"""Fields whose value is the length of a text in the buffer: security labels, paths, folders, programs."""


def _lives(pid: int, ticks: int) -> bool:
    try:
        return start_ticks(pid) == ticks
    except OSError:
        return False
