"""How is a list of units worked off: several at a time, each once, and again only what is not done?"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from eleagent.cli.copying import copy
from eleagent.cli.follow import Ending
from eleagent.cli.invocation import Invocation
from eleagent.cli.outdir import OutDir
from eleagent.cli.report import tokens
from eleagent.cli.screen import Style, To
from eleagent.cli.states import state_span
from eleagent.cli.tasks import Progress, Step, Unit
from eleagent.client.exchange import PATIENCE_S, StreamBroken
from eleagent.errors import DaemonUnreachable, EleAgentError, LauncherUnavailable, LimitReached, NotFound
from eleagent.operations.artefacts import ARTEFACT_LIST
from eleagent.operations.operation import Operation
from eleagent.operations.sessions import SESSION_CREATE, SESSION_GET
from eleagent.operations.system import STATUS
from eleagent.wire.sessions import ArtefactList, Session, SessionDetail
from eleagent.wire.states import State
from eleagent.wire.system import Status

INTERRUPTED = 130
RETRY_S: Final = 0.5


def run_list(invocation: Invocation, units: list[Unit], *, path: Path, concurrency: int, output: Path | None) -> int:
    """Returns the exit code of the first unit, in the list's order, that did not succeed; 0 when all did."""
    with Progress.open(path.with_name(f"{path.name}.progress")) as progress:
        waiting = [unit for unit in units if not ((step := progress.find(unit)) and step.done)]
        if not _agreed(invocation, units, waiting, concurrency):
            return INTERRUPTED
        return WorkList(
            invocation=invocation, progress=progress, path=path, output=output, concurrency=concurrency
        ).work(units, waiting)


def _agreed(invocation: Invocation, units: list[Unit], waiting: list[Unit], concurrency: int) -> bool:
    """Say what is about to begin and what it may cost at most; on a terminal somebody has to agree."""
    screen = invocation.screen
    done = f" ({len(units) - len(waiting)} are done)" if len(waiting) < len(units) else ""
    line = f"{len(waiting)} of {len(units)} units{done}, {concurrency} at a time" + _ceiling(invocation, waiting)
    if not invocation.quiet:
        screen.note(line)
    if not waiting or invocation.yes or not (sys.stdin.isatty() and screen.is_terminal(To.ERR)):
        return True
    screen.prompt("Start? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _ceiling(invocation: Invocation, waiting: list[Unit]) -> str:
    """Programs may use a model too, where their policy gives one."""
    status: Status = invocation.client.call(STATUS)
    each = [unit.body.limits.max_cost_usd or status.limits.max_cost_usd for unit in waiting]
    if not each:
        return ""
    if any(one is None for one in each):
        return ": no limit on what they may cost (--max-cost sets one)"
    per_unit = f" x {each[0]:g} USD" if len(set(each)) == 1 else ""
    day = f", and {status.user_day_usd:g} USD a day for you" if status.user_day_usd else ""
    return f": at most {len(each)}{per_unit} = {sum(one for one in each if one):,.2f} USD{day}"


class WorkList:
    """`path` is the list, whose units' sessions are created under keys made from it: one that was accepted before this
    run died is taken up, not made twice.
    """

    def __init__(
        self, *, invocation: Invocation, progress: Progress, path: Path, output: Path | None, concurrency: int
    ) -> None:
        self._invocation = invocation
        self._progress = progress
        self._list = str(path.absolute())
        self._output = output
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._codes: dict[str, int] = {}

    def work(self, units: list[Unit], waiting: list[Unit]) -> int:
        rest = iter(waiting)
        running: set[Future[None]] = set()
        stopped: EleAgentError | None = None
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                while True:
                    while stopped is None and len(running) < self._concurrency and (unit := next(rest, None)):
                        running.add(pool.submit(self._guarded, unit))
                    if not running:
                        break
                    over, running = wait(running, return_when=FIRST_COMPLETED)
                    stopped = next(
                        (error for one in over if isinstance(error := one.exception(), EleAgentError)), stopped
                    )
            except KeyboardInterrupt:
                self._tell("interrupted: what was started goes on; the same command takes it up again")
                pool.shutdown(wait=False, cancel_futures=True)
                self._invocation.screen.close()
                # Threads wait for sessions that may go on for hours: nothing of theirs has to be finished.
                os._exit(INTERRUPTED)
        if stopped is not None:
            self._tell(f"no more units are started: {stopped.message}")
        return self._summary(units, stopped)

    def _guarded(self, unit: Unit) -> None:
        """One unit that can't be started stops no other; what would stop every other is raised."""
        try:
            self._one(unit)
        except LimitReached:
            raise
        except EleAgentError as error:
            if error.status >= 500:
                raise
            with self._lock:
                self._codes[unit.id] = error.exit_code
            self._tell(f"{unit.id}: {error.message}")

    def _one(self, unit: Unit) -> None:
        key = self._session(unit)
        ending = self._follow(key)
        code = self._copy(unit, key) if self._output is not None else 0
        step = self._progress.steps[unit.id]
        with self._lock:
            self._codes[unit.id] = ending.exit_code or code
            self._progress.keep(
                Step(
                    id=unit.id, digest=unit.digest, session=key, attempt=step.attempt, state=ending.state,
                    exit_code=ending.exit_code or code,
                )
            )  # fmt: skip
            self._say(unit, ending)

    def _session(self, unit: Unit) -> str:
        """The unit's session: the one that an earlier run started and that lives, or a new one."""
        step = self._progress.find(unit)
        if step is not None and not step.state:
            try:
                detail: SessionDetail = self._ask(SESSION_GET, key=step.session)
            except NotFound:
                pass
            else:
                return detail.session.key
        attempt = step.attempt + 1 if step is not None else 1
        token = hashlib.sha256(f"{self._list}\0{unit.id}\0{unit.digest}\0{attempt}".encode()).hexdigest()
        session: Session = self._ask(SESSION_CREATE, body=unit.body, token=token)
        with self._lock:
            self._progress.keep(Step(id=unit.id, digest=unit.digest, session=session.key, attempt=attempt))
            if not (self._invocation.json or self._invocation.quiet):
                self._invocation.screen.note(f"{unit.id}: session {session.key}")
        return session.key

    def _ask(self, operation: Operation, **given: Any) -> Any:
        """A daemon that is being started again is waited for; what it has accepted it does not make twice."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._invocation.client.call(operation, **given)
            except (DaemonUnreachable, LauncherUnavailable, StreamBroken):
                if time.monotonic() > until:
                    raise
                time.sleep(RETRY_S)

    def _follow(self, key: str) -> Ending:
        client = self._invocation.client
        ending = None
        for item in client.follow(key):
            ending = Ending.of_event(key, item) or ending
        return ending or Ending.ask(client, key)

    def _copy(self, unit: Unit, key: str) -> int:
        listed: ArtefactList = self._ask(ARTEFACT_LIST, key=key)
        assert self._output is not None  # noqa: S101 - its caller looked
        with ExitStack() as stack:
            folder = stack.enter_context(OutDir.create(self._output / unit.id))
            return copy(self._invocation, key, [(one.path, one) for one in listed.artefacts], folder)

    def _say(self, unit: Unit, ending: Ending) -> None:
        if self._invocation.json:
            self._invocation.emit({"id": unit.id, **ending.document(self._invocation.client)})
        elif not self._invocation.quiet:
            used = f" · {used}" if (used := tokens(ending.usage)) else ""
            why = f" ({ending.detail or ending.reason})" if ending.state is not State.SUCCEEDED else ""
            self._invocation.screen.line(unit.id, "  ", ending.key, "  ", state_span(ending.state), why, used)

    def _summary(self, units: list[Unit], stopped: EleAgentError | None) -> int:
        """What was done before counts too."""
        codes = [self._codes.get(unit.id, self._before(unit)) for unit in units]
        failed = sum(code not in (0, None) for code in codes)
        left = sum(code is None for code in codes)
        parts = [f"{codes.count(0)} succeeded", f"{failed} failed", *([f"{left} not started"] if left else [])]
        code = next((code for code in codes if code), 0) or (stopped.exit_code if stopped is not None else 0)
        if self._invocation.json:
            counts = {"succeeded": codes.count(0), "failed": failed, "not_started": left}
            self._invocation.emit({"units": len(units), **counts, "exit_code": code})
        elif not self._invocation.quiet:
            self._invocation.screen.line((Style.BAD if code else Style.GOOD, ", ".join(parts)), to=To.ERR)
        return code

    def _before(self, unit: Unit) -> int | None:
        step = self._progress.find(unit)
        return step.exit_code if step is not None else None

    def _tell(self, text: str) -> None:
        self._invocation.screen.line((Style.BAD, "eleagent:"), f" {text}", to=To.ERR)


def check_list_flags(prompt: str | None, program: list[str] | None, *, detach: bool, name: str | None) -> None:
    """A list says itself what is to be done. Raises UsageError."""
    if prompt is not None or program is not None:
        raise click.UsageError("--tasks FILE says what to do: leave PROMPT and PROGRAM out")
    if detach or name:
        raise click.UsageError(f"--tasks FILE follows its units: leave {'-d' if detach else '-n'} out")
