"""How does a runtime without an engine get control groups for a sandbox, of version 1 or 2, and where may it?

As root below `eleagent` at the top of each hierarchy, as engines do. Who is not root gets them where version 2 gave
this process's own group to him (a service with Delegate=yes, a scope of the user's manager); the launcher then moves
into a leaf, since a group with processes may not share out to others.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eleagent_daemon.domain.sandbox import Limits
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.kernel.mountinfo import MountLine

CONTROLLERS: Final = ("memory", "pids", "cpu")
_FREEZER: Final = "freezer"
_TOP: Final = "eleagent"
_LEAF: Final = "launcher"
_PERIOD_US: Final = 100_000
_GONE_S: Final = 2.0
_STATES: Final = {True: "FROZEN", False: "THAWED"}
"""freezer.state of version 1, in which a frozen process does not even die."""


@dataclass(frozen=True)
class Groups:
    """`parents`: controller → folder in which a sandbox's group can be made; what is missing can't be limited here."""

    parents: Mapping[str, Path]
    unified: bool

    @classmethod
    def find(cls, proc: Path = Path("/proc/self")) -> Groups:
        mounts = mountinfo.read(proc)
        old = {
            name: Path(line.target)
            for line in mounts
            for name in _controllers(line)
            if name in (*CONTROLLERS, _FREEZER)
        }
        if old:
            return cls({name: top / _TOP for name, top in old.items() if os.access(top, os.W_OK)}, unified=False)
        tops = [Path(line.target) for line in mounts if line.fstype == "cgroup2"]
        if not tops:
            return cls({}, unified=True)
        parent = tops[0] / _TOP if os.geteuid() == 0 else _own(tops[0], (proc / "cgroup").read_text())
        if not os.access(parent if parent.exists() else parent.parent, os.W_OK):
            return cls({}, unified=True)
        known = (parent if parent.exists() else parent.parent) / "cgroup.controllers"
        return cls({name: parent for name in CONTROLLERS if name in known.read_text().split()}, unified=True)

    def make(self, name: str, limits: Limits) -> list[Path]:
        """A group with these limits; the files that a process joins it by. Raises OSError."""
        joins: dict[Path, None] = {}
        for controller, parent in self.parents.items():
            parent.mkdir(exist_ok=True)
            if self.unified:
                self._share_out(parent)
            group = parent / name
            group.mkdir(exist_ok=True)
            for file, value in (_new if self.unified else _old)(controller, limits):
                if (group / file).exists():  # there is no swap accounting in every kernel
                    (group / file).write_text(value)
            joins[group / "cgroup.procs"] = None
        return list(joins)

    def remove(self, name: str) -> None:
        """Idempotent; a group whose last process is just ending is waited for. Raises OSError."""
        until = time.monotonic() + _GONE_S
        for group in dict.fromkeys(parent / name for parent in self.parents.values()):
            while True:
                try:
                    group.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.005)
                else:
                    break

    def freeze(self, name: str, *, frozen: bool) -> bool:
        """Stop the clock of a group, or let it go on; False where its processes have to be stopped one by one. May not
        be done at once."""
        old = self.parents.get(_FREEZER)
        parent = next(iter(self.parents.values()), None) if self.unified else old
        if parent is None:
            return False
        file, value = ("cgroup.freeze", str(int(frozen))) if self.unified else ("freezer.state", _STATES[frozen])
        (parent / name / file).write_text(value)
        return True

    def is_frozen(self, name: str) -> bool:
        """Whether nothing in the group runs any more."""
        parent = next(iter(self.parents.values())) if self.unified else self.parents[_FREEZER]
        if self.unified:
            return "frozen 1" in (parent / name / "cgroup.events").read_text().splitlines()
        return (parent / name / "freezer.state").read_text().strip() == _STATES[True]

    def killed(self, name: str) -> bool:
        """Whether the kernel ended one of its processes at the memory limit."""
        if (parent := self.parents.get("memory")) is None:
            return False
        with contextlib.suppress(OSError):
            text = (parent / name / ("memory.events" if self.unified else "memory.oom_control")).read_text()
            return any(line.split() != ["oom_kill", "0"] for line in text.splitlines() if line.startswith("oom_kill "))
        return False

    def _share_out(self, parent: Path) -> None:
        wanted = set(self.parents)
        for folder in (parent.parent, parent) if parent.name == _TOP else (parent,):
            control = folder / "cgroup.subtree_control"
            if wanted <= set(control.read_text().split()):
                continue
            if folder == parent and parent.name != _TOP:
                leaf = parent / _LEAF
                leaf.mkdir(exist_ok=True)
                for pid in (parent / "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        (leaf / "cgroup.procs").write_text(pid)
            control.write_text(" ".join(f"+{name}" for name in sorted(wanted)))


def _controllers(line: MountLine) -> tuple[str, ...]:
    return line.super_options if line.fstype == "cgroup" else ()


def _own(top: Path, membership: str) -> Path:
    """This process's own group of version 2 (cgroups(7)); in a leaf that an earlier launcher made, the one above."""
    path = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), "/")
    own = top / path.strip().lstrip("/")
    return own.parent if own.name == _LEAF else own


def _old(controller: str, limits: Limits) -> Iterator[tuple[str, str]]:
    if controller == "memory":
        yield "memory.limit_in_bytes", str(limits.memory_bytes)
        yield "memory.memsw.limit_in_bytes", str(limits.memory_bytes)
    elif controller == "pids":
        yield "pids.max", str(limits.pids)
    elif controller == "cpu":
        yield "cpu.cfs_period_us", str(_PERIOD_US)
        yield "cpu.cfs_quota_us", str(round(limits.cpus * _PERIOD_US))


def _new(controller: str, limits: Limits) -> Iterator[tuple[str, str]]:
    if controller == "memory":
        yield "memory.max", str(limits.memory_bytes)
        yield "memory.swap.max", "0"
        yield "memory.oom.group", "0"
    elif controller == "pids":
        yield "pids.max", str(limits.pids)
    else:
        yield "cpu.max", f"{round(limits.cpus * _PERIOD_US)} {_PERIOD_US}"
