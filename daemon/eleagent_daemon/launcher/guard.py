"""Is a sandbox what was asked for, before its release and ever after, and which doors does it have?

Both are one question: a door is worth what is known of the network namespace that it was opened in.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from eleagent.errors import IsolationFailed, NotFound
from eleagent.wire.attestation import Binding, Report
from eleagent_daemon.domain import attestation
from eleagent_daemon.domain.evidence import Evidence
from eleagent_daemon.domain.launch import Notice
from eleagent_daemon.domain.sandbox import Phase
from eleagent_daemon.kernel.calls import namespace_inode, start_ticks
from eleagent_daemon.kernel.child import Children
from eleagent_daemon.launcher import doors
from eleagent_daemon.launcher.examine import examine
from eleagent_daemon.launcher.record import Record
from eleagent_daemon.runtime.seam import Runtime

log = logging.getLogger(__name__)

UNATTESTED_LIMIT: Final = 3
"""So many attestations in a row may fail before that is called a violation."""
_LIVE: Final = (Phase.RUNNING, Phase.PAUSED)


class Guard:
    """Of one sandbox. `violated` ends it; the reason was told by then."""

    def __init__(
        self,
        *,
        record: Record,
        runtime: Runtime,
        children: Children,
        save: Callable[[], None],
        notify: Callable[[Notice], None],
        violated: Callable[[], None],
    ) -> None:
        self._record = record
        self._runtime = runtime
        self._children = children
        self._save = save
        self._notify = notify
        self._violated = violated
        self._doors: dict[str, socket.socket] = {}
        self._unattested = 0

    async def attest(self) -> Report:
        """Before the release the report is what the sandbox is held to; after it a difference ends the sandbox.

        Raises NotFound when it does not run.
        """
        report = await self._evaluate()
        if self._record.released:
            await self._compare(report)
        else:
            self._record.report = report
            self._save()
        return report

    async def watch(self) -> None:
        """Attest again: a sandbox that is not what was released is killed; one that can't be judged is told of."""
        try:
            if (await self._runtime.inspect(self._record.spec.name)).phase is Phase.PAUSED:
                return  # nothing in it runs or changes, and a process that is still can't be asked for its filter
            await self._compare(await self._evaluate())
        except NotFound:
            return
        except Exception as error:
            log.exception("%s could not be attested", self._session)
            self._unattested += 1
            if self._unattested >= UNATTESTED_LIMIT:
                why = f"it could not be attested {self._unattested} times in a row: {error}"
                self._notify(Notice(session=self._session, violation=[why]))
        else:
            self._unattested = 0

    async def open_doors(self, held: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
        """The listeners of the attested sandbox by name. `held` are taken over where they are what they should be."""
        binding = self.attested()
        ports = self._record.spec.doors.ports()
        for name, sock in held.items():
            if name in ports:
                doors.check(name, sock, ports[name], binding.netns_inode)
                if name not in self._doors:
                    self._doors[name] = sock.dup()
        missing = {name: port for name, port in ports.items() if name not in self._doors}
        if missing:
            self._doors |= await doors.bind(binding.pid, binding.netns_inode, missing)
        return {name: self._doors[name] for name in ports}

    def attested(self) -> Binding:
        """What the complete report holds for, as long as the attested process lives. Raises IsolationFailed."""
        report = self._record.report
        if report is None:
            raise IsolationFailed(f"the sandbox of {self._session} was not attested")
        if refusal := attestation.refusal(report, self._record.spec.mode):
            raise IsolationFailed(f"the sandbox of {self._session} is not what was asked for: {refusal}")
        bound = report.binding
        try:
            now = start_ticks(bound.pid), namespace_inode(bound.pid, "net")
        except OSError:
            now = None
        if now != (bound.pid_start_ticks, bound.netns_inode):
            raise IsolationFailed(f"the sandbox of {self._session} is not the one that was attested")
        return bound

    def close_doors(self) -> None:
        """A listener that is held keeps its network namespace alive."""
        while self._doors:
            self._doors.popitem()[1].close()

    async def _evaluate(self) -> Report:
        view = await self._runtime.view(self._record.sandbox)
        placement = self._record.placement
        if view.status.phase not in _LIVE or not view.pids or placement is None:
            raise NotFound(f"the sandbox of {self._session} does not run: nothing is there to attest")

        ports = self._record.spec.doors.ports()
        missing = {} if self._record.released else {name: ports[name] for name in ports.keys() - self._doors.keys()}

        job = partial(
            examine,
            missing,
            sandbox_id=self._record.sandbox_id,
            started_at=view.status.started_at,
            pids=view.pids,
            spec=self._record.spec,
            engine=view.applied,
            released=self._record.released,
            owner=(placement.person or self._record.spec).uid,
        )
        evidence, fds = await self._children.run(job, Evidence)
        self._doors |= {name: socket.socket(fileno=fd) for name, fd in zip(missing, fds, strict=False)}
        return attestation.evaluate(self._record.spec, evidence, placement, runtime=self._runtime.name)

    async def _compare(self, report: Report) -> None:
        if self._record.report is None:
            return
        if differences := attestation.differences(self._record.report, report):
            # Told first, so that the reason is known before the end is.
            self._notify(Notice(session=self._session, violation=differences))
            self._violated()

    @property
    def _session(self) -> str:
        return self._record.spec.session
