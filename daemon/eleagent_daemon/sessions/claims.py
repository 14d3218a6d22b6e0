"""Did the agent run what it says it ran, and nothing else? Its reports against the executions that the host saw.

A shell that the agent itself started runs a reported command where the command is one of its arguments, or what one of
them evaluates; quotes and blanks are left out of the comparison, since each wrapper quotes in its own way. What runs
below such a shell is covered by the report. Everything else that the agent's process started is unreported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

import msgspec

from eleagent.wire.events import AgentToolCall
from eleagent.wire.observations import (
    Arguments,
    ClaimsCompared,
    ObservationGap,
    ObservationStarted,
    Observer,
    ProgramExecuted,
    Unreported,
)
from eleagent.wire.payload import Payload

RUNS_LIMIT: Final = 5_000
"""Executions of one turn that are compared."""
CALLS_LIMIT: Final = 1_000
PROCESSES_LIMIT: Final = 20_000
LISTED: Final = 50
_SHORT: Final = 200
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ash", "busybox"})
_LEFT_OUT: Final = {ord(char): None for char in "'\"\\ \t\r\n"}
_BEFORE: Final = "&&eval"
_NO_INPUT: Final = "</dev/null"
_BEHIND: Final = "&&pwd-P>|"
_KEPT: Final = re.compile(r"[\w./-]*")
"""What Claude Code puts around a command, without blanks: it sources its snapshot, evaluates, gives no input but to a
command with a here-document of its own, and keeps the folder."""


@dataclass(frozen=True)
class _Run:
    """`commands` are a shell's arguments, or what they evaluate, without quotes and blanks; none for anything else."""

    pid: int
    ppid: int
    exe: str
    argv: tuple[str, ...]
    commands: tuple[str, ...] = ()


@dataclass
class _Result:
    """`covered` says of a process whether a report covers what it runs."""

    matched: set[str] = field(default_factory=set)
    covered: dict[int, bool] = field(default_factory=dict)
    covered_count: int = 0
    unreported: Counter[str] = field(default_factory=Counter)
    samples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unplaced: int = 0


class Claims:
    """Fed with a timeline's events in order, a state machine without I/O: a daemon that comes back feeds it the same.

    `commands`: tools that run a command → the member of their input that is the command. None: nothing is reported.
    """

    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = commands
        self._watched = False
        self._incomplete = False
        self._agent = 0
        self._calls: dict[str, str] = {}
        self._late: set[str] = set()  # calls that were not seen at the end of an earlier turn
        self._runs: list[_Run] = []
        self._covered: dict[int, bool] = {}
        self._done = False

    @property
    def active(self) -> bool:
        return bool(self._commands) and not self._done

    def take(self, payload: Payload) -> None:
        match payload:
            case ObservationStarted():
                self._watched = payload.programs is Observer.AUDIT  # arguments that were read later prove nothing
            case ObservationGap():
                self._incomplete = True
            case AgentToolCall() if payload.name in self._commands:
                command = _command(payload, self._commands[payload.name])
                if command and len(self._calls) < CALLS_LIMIT:
                    self._calls[payload.id] = _bare(command)
                else:
                    self._incomplete = True
            case ProgramExecuted():
                self._executed(payload)
            case ClaimsCompared():
                result = self._match()
                self._late = (self._calls.keys() - result.matched) - self._late
                self._calls = {one: self._calls[one] for one in self._calls if one in self._late}
                self._covered = dict(list(result.covered.items())[-PROCESSES_LIMIT:])
                self._runs, self._incomplete, self._done = [], False, payload.final
            case _:
                pass

    def compare(self, *, final: bool = False) -> ClaimsCompared:
        """At the end of a turn. A command that was not seen may still be: it is called unseen one turn later, or at the
        end. Changes nothing: `take` what is returned.
        """
        result = self._match()
        incomplete = self._incomplete or not self._watched
        missing = [one for one in self._calls if one not in result.matched and (final or one in self._late)]
        return ClaimsCompared(
            reported=len(self._calls),
            seen=len(result.matched),
            unseen=[] if incomplete else missing,
            covered=result.covered_count,
            unreported=[
                Unreported(exe=exe, count=count, argv=_brief(result.samples[exe]))
                for exe, count in result.unreported.most_common(LISTED)
            ],
            unplaced=result.unplaced,
            incomplete=incomplete,
            final=final,
        )

    def _executed(self, execution: ProgramExecuted) -> None:
        if not self.active:
            return
        if not self._agent:  # the first that is seen is the agent itself, from the opened gate
            self._agent = execution.pid
            return
        if execution.count > 1 or len(self._runs) >= RUNS_LIMIT:
            self._incomplete = True
            return
        argv = tuple(execution.argv)
        kernels = execution.arguments is Arguments.KERNEL
        is_shell = kernels and PurePosixPath(execution.exe).name in _SHELLS and execution.ppid == self._agent
        commands = tuple(each for one in argv[1:] for each in _evaluated(_bare(one))) if is_shell else ()
        self._runs.append(_Run(execution.pid, execution.ppid, execution.exe, argv, commands))

    def _match(self) -> _Result:
        result = _Result(covered=dict(self._covered))
        for run in self._runs:
            call = next(
                (one for one in self._calls if one not in result.matched and self._calls[one] in run.commands), None
            )
            if call is not None:
                result.matched.add(call)
                result.covered[run.pid] = True
        for run in self._runs:
            if run.pid not in result.covered:
                if run.ppid == self._agent or run.pid == self._agent:
                    result.covered[run.pid] = False
                elif run.ppid in result.covered:
                    result.covered[run.pid] = result.covered[run.ppid]
                else:
                    result.unplaced += 1
                    continue
            if result.covered[run.pid]:
                result.covered_count += 1
            else:
                result.unreported[run.exe] += 1
                result.samples.setdefault(run.exe, run.argv)
        return result


def _evaluated(argument: str) -> tuple[str, ...]:
    """The command inside the wrapper, from its first word to the last: what it holds itself can't move either end."""
    _, before, rest = argument.partition(_BEFORE)
    command, behind, kept = rest.rpartition(_BEHIND)
    if not (before and behind and _KEPT.fullmatch(kept)):
        return (argument,)
    return command, command.removesuffix(_NO_INPUT)


def _command(call: AgentToolCall, member: str) -> str:
    try:
        return str(msgspec.json.decode(call.input, type=dict[str, object]).get(member, ""))
    except msgspec.DecodeError:  # cut: it is too long to be kept whole
        return ""


def _bare(text: str) -> str:
    return text.translate(_LEFT_OUT)


def _brief(argv: Sequence[str]) -> list[str]:
    """As many arguments as say what it is."""
    kept: list[str] = []
    room = _SHORT
    for argument in argv:
        if room <= 0:
            return [*kept, "…"]
        kept.append(argument if len(argument) <= room else argument[:room] + "…")
        room -= len(argument)
    return kept
