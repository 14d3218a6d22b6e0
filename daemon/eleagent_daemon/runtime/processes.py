"""Which processes does a sandbox have? Those in the pid namespace of its init, whatever else they left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from eleagent_daemon.kernel.calls import namespace_inode, start_ticks

_GONE = (FileNotFoundError, ProcessLookupError)
_STOP_PENDING: Final = 1 << (signal.SIGSTOP - 1)


def is_alive(pid: int, ticks: int) -> bool:
    """Whether that very process runs: one that only waits to be reaped does not."""
    return ticks != 0 and start_ticks_or_none(pid) == ticks and _state(pid) not in ("Z", "X")


def processes(init: int) -> list[int]:
    """Host pids of all processes in the pid namespace of `init`, `init` first; empty when it is gone."""
    try:
        wanted = namespace_inode(init, "pid")
    except _GONE:
        return []
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone, and all of them
        if name.isdigit():
            try:
                inside = namespace_inode(int(name), "pid") == wanted
            except (*_GONE, PermissionError):
                continue
            if inside:
                found.append(int(name))
    return [init, *sorted(pid for pid in found if pid != init)] if init in found else []


def main_process(init: int) -> int:
    """The one that the init waits for, number 2 in its own namespace; 0 where there is none."""
    try:
        children = [int(pid) for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split()]
    except OSError:  # a kernel without that file, or gone
        children = processes(init)[1:]
    for pid in children:
        if _status(pid).get("NSpid", "").split()[-1:] == ["2"]:
            return pid
    return 0


def stop_all(init: int) -> bool:
    """Tell every process to stop; whether all had before. One that runs may let another go on or fork, so this is
    asked until it is true."""
    running = [pid for pid in processes(init) if not _stands_still(pid)]
    _signal_each(running, signal.SIGSTOP)
    return not running


def _stands_still(pid: int) -> bool:
    """Stopped, ended, or bound to stop before it does anything more: what waits for the kernel and nothing else (for
    the program of a vfork that stopped before it began one, say) has no time to stop until that wait ends."""
    state = _state(pid)
    return state in ("T", "Z", "X") or (state == "D" and _STOP_PENDING & _pending(pid) != 0)


def _pending(pid: int) -> int:
    """Its pending signals, signal 1 in the lowest bit (proc(5), SigPnd and ShdPnd of status)."""
    fields = _status(pid)
    return int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)


def go_on(init: int) -> None:
    _signal_each(processes(init), signal.SIGCONT)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except _GONE:
        return "X"


def _status(pid: int) -> dict[str, str]:
    """The fields of /proc/PID/status by name; none where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except _GONE:
        return {}
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _signal_each(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        send(pid, start_ticks_or_none(pid), signum)


def is_there(pid: int) -> bool:
    """Whether a process of that number runs: what only waits to be reaped does not."""
    return is_alive(pid, start_ticks_or_none(pid))


def start_ticks_or_none(pid: int) -> int:
    """0 where there is no such process."""
    try:
        return start_ticks(pid)
    except OSError:
        return 0


def send(pid: int, ticks: int, signum: int) -> None:
    """Signal that very process; nothing happens where it is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_ticks(pid) == ticks:
            signal.pidfd_send_signal(process, signum)
    except _GONE:
        return
    finally:
        os.close(process)
