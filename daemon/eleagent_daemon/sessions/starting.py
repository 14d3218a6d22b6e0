"""How does a session get its sandbox: made, attested while the gate holds, given its doors, released?"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import msgspec

from eleagent.errors import Conflict, EleAgentError, IsolationFailed
from eleagent.wire.events import (
    DataUnreadable,
    DoorsOpened,
    InputAccepted,
    SandboxAttested,
    SandboxViolation,
    SessionStarted,
    SessionStarting,
)
from eleagent.wire.inside import TOKEN_VARIABLE
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Session, State
from eleagent_daemon.domain.attestation import refusal
from eleagent_daemon.domain.doors import Gateway, Terms
from eleagent_daemon.domain.launch import (
    CHUNK_BYTES,
    Attest,
    Attested,
    Create,
    Done,
    DoorSet,
    Made,
    OpenDoors,
    OpenSource,
    Release,
    Source,
    Write,
)
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import DATA_DIR, DataMount, Limits, Mode, SandboxSpec
from eleagent_daemon.sessions.accounts import Accounts, DoorSink
from eleagent_daemon.sessions.adapter import Launch, Send, first_input
from eleagent_daemon.sessions.inside import Inside
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.live import Live
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.store.registry import CallerIdentity, Reservation
from eleagent_daemon.store.timeline import now


class Starting:
    """`forbidden` are our own folders, which no data source may be, hold or lie in. `tokens` are what a session may
    show at its own door, by its key and the count of its start; its sandbox is given the first.
    """

    def __init__(
        self,
        *,
        launcher: LauncherClient,
        gateway: Gateway,
        accounts: Accounts,
        installation: str,
        purses: Purses,
        limits: Limits,
        mode: Mode,
        forbidden: list[str],
        tokens: Callable[[str, int], Sequence[str]],
    ) -> None:
        self._launcher = launcher
        self._gateway = gateway
        self._accounts = accounts
        self._installation = installation
        self._purses = purses
        self._limits = limits
        self._mode = mode
        self._forbidden = forbidden
        self._tokens = tokens

    async def open_sources(
        self, paths: list[str], caller: CallerIdentity, *, reader_uid: int
    ) -> list[tuple[str, Source]]:
        """Open each path with the caller's rights. Raises BadRequest and Refused, naming the path."""
        return [
            (
                path,
                await self._launcher.ask(
                    OpenSource(
                        path=path,
                        uid=caller.uid,
                        gid=caller.gid,
                        groups=caller.groups,
                        reader_uid=reader_uid,
                        forbidden=self._forbidden,
                    ),
                    Source,
                ),
            )
            for path in paths
        ]

    def spec(self, reserved: Reservation, session: Session, launch: Launch) -> SandboxSpec:
        """A sandbox without data, at its first attempt."""
        return SandboxSpec(
            session=reserved.key,
            installation=self._installation,
            attempt=1,
            image=str(session.image),
            argv=launch.argv,
            env=launch.env,
            uid=reserved.uid,
            stdin=launch.stdin,
            doors=launch.doors,
            limits=own_limits(self._limits, session.limits),
            mode=self._mode,
        )

    async def start(self, live: Live, *, policy: Policy) -> None:
        """From nothing to a running agent. Raises AuditUnavailable where it can't be recorded, IsolationFailed when a
        control was not found, and whatever the launcher says.
        """
        intent = await self._accounts.starting(live, attempt=live.record.attempt + 1)
        try:
            await self._make(live)
            await self._attest(live)
            await self.open_doors(live, policy=policy)
            await self.release(live, written=[])
        except EleAgentError as err:
            await self._accounts.started(live, intent, err.code)
            raise
        await self._accounts.started(live, intent, "done")

    @property
    def boot_id(self) -> str:
        """Of the host, as the launcher that is connected sees it."""
        greeting = self._launcher.greeting
        return greeting.boot_id if greeting is not None else ""

    async def release(self, live: Live, *, written: list[str]) -> None:
        """Open the gate. It is recorded first: an agent that may have run is never started a second time."""
        if live.cause is not None:  # stopped while it was made: it never runs
            return
        if live.started is None:
            live.started, live.boot_id = now(), self.boot_id
            await live.timeline.append(SessionStarted(boot_id=live.boot_id))
        await self._launcher.ask(Release(session=live.key), Done)
        if live.session.state is State.STARTING:  # an adopted one may wait or be paused
            await live.become(state=live.awake, started=live.started)
        await self.write_inputs(live, written=written)

    async def _make(self, live: Live) -> None:
        record = live.record
        attempt = record.attempt + 1
        sources = await self.open_sources(record.session.data, record.caller, reader_uid=record.uid)
        spec = self.spec(Reservation(live.key, record.uid), record.session, live.adapter.launch())
        spec = msgspec.structs.replace(
            spec,
            attempt=attempt,
            env=spec.env | {TOKEN_VARIABLE: self._tokens(live.key, attempt)[0]},
            data=place_data(sources),
            disk_of=record.session.resumed_from,
        )
        if live.cause is not None:
            raise Conflict(f"session {live.key} is being ended: it is not made")
        # The attempt is stored before the sandbox is made: what a crash leaves behind can be found by name.
        await live.become(attempt=attempt, state=State.STARTING)
        starting = SessionStarting(
            attempt=attempt,
            image=spec.image,
            uid=spec.uid,
            agent_version=record.session.agent_version,
            agent_digest=record.session.agent_digest,
        )
        unreadable = [
            DataUnreadable(source=path, paths=source.unreadable, count=source.unreadable_count, masked=source.masked)
            for path, source in sources
            if source.unreadable or source.masked
        ]
        await live.timeline.append(starting, *unreadable)
        await self._launcher.ask(Create(spec=spec), Made)

    async def _attest(self, live: Live) -> None:
        live.report = (await self._launcher.ask(Attest(session=live.key), Attested)).report
        await live.timeline.append(SandboxAttested(report=live.report))
        if reason := refusal(live.report, self._mode):
            raise IsolationFailed(f"not started: {reason}")

    async def reattest(self, live: Live) -> bool:
        """Attest an adopted sandbox. False, with the difference in the timeline, when it is not what was attested
        before.
        """
        report = (await self._launcher.ask(Attest(session=live.key), Attested)).report
        same = live.report is not None and report.binding == live.report.binding and report.complete
        live.report = report
        if not same:
            differences = [
                f"{control.name}: asked {control.asked}, found {control.found}" for control in report.failures
            ]
            await live.timeline.append(
                SandboxViolation(differences=differences or ["it is another sandbox than the attested one"])
            )
        return same

    async def open_doors(self, live: Live, *, policy: Policy) -> None:
        """Take the listeners from the launcher and let the gateway serve them."""
        answer, fds = await self._launcher.call(OpenDoors(session=live.key))
        if not isinstance(answer, DoorSet):
            raise IsolationFailed(f"the launcher answered with {type(answer).__name__} instead of doors")
        live.held = {name: os.dup(fd) for name, fd in zip(answer.names, fds, strict=True)}
        sockets = {name: socket.socket(fileno=fd) for name, fd in zip(answer.names, fds, strict=True)}
        terms = Terms(
            session=live.key,
            policy=policy,
            model_script=live.record.request.model_script,
            usage=live.usage_before,
            stop_reason=live.stop_reason,
            tokens=tuple(self._tokens(live.key, live.record.attempt)),
        )
        upstream = self._gateway.check(terms) if "model" in sockets else ""
        sink = DoorSink(live, accounts=self._accounts)
        own = Inside(live, accounts=self._accounts)
        live.doors = await self._gateway.open(sockets, terms, sink, self._purses.of(live), own)
        await live.timeline.append(DoorsOpened(ports=live.adapter.launch().doors.ports(), upstream=upstream))

    async def give_back_doors(self, live: Live) -> None:
        """A launcher that was restarted gets the listeners that we still hold."""
        names = list(live.held)
        answer, fds = await self._launcher.call(
            OpenDoors(session=live.key, held=names), [live.held[name] for name in names]
        )
        for fd in fds:
            os.close(fd)
        if not isinstance(answer, DoorSet) or set(answer.names) != set(names):
            raise IsolationFailed("the doors that the launcher has are not the ones that we hold")

    async def write_inputs(self, live: Live, *, written: list[str]) -> None:
        """All that the agent was told and has not taken yet, but for the messages that were `written` already."""
        first, prompt = first_input(live.key), live.record.request.prompt
        if prompt is not None and first not in live.inputs:
            await self.accept(live, first, prompt, by=live.session.owner)
        inputs = [(message, text) for message, text in live.inputs.items() if live.adapter.undelivered(message)]
        sends = [*live.adapter.unread(), *(live.adapter.say(text, message=message) for message, text in inputs)]
        for send in sends:
            if send.id not in written:
                await self.write(live.key, send)

    async def accept(self, live: Live, message: str, text: str, *, by: str) -> int:
        """An input is in the timeline before it is written. Returns its seq."""
        accepted = InputAccepted(id=message, by_user=by, text=text)
        live.inputs[message] = text
        seq = await live.timeline.append(accepted)
        live.adapter.recall(accepted)
        return seq

    async def write(self, key: str, send: Send) -> None:
        """Returns when the launcher has the whole of it."""
        for start in range(0, len(send.data), CHUNK_BYTES):
            piece = send.data[start : start + CHUNK_BYTES]
            last = start + CHUNK_BYTES >= len(send.data)
            await self._launcher.ask(Write(session=key, message=send.id, data=piece, last=last), Done)


def own_limits(limits: Limits, asked: SessionLimits) -> Limits:
    """What one sandbox may use: what its session asked for, else the operator's."""
    names = ("memory_bytes", "cpus", "pids", "disk_bytes")
    given = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    return msgspec.structs.replace(limits, **given)


def place_data(sources: list[tuple[str, Source]]) -> tuple[DataMount, ...]:
    """One folder is /data itself; several sources, or a file, lie in /data under their own names. Raises Conflict for
    two alike.
    """
    if len(sources) == 1 and sources[0][1].is_dir:
        path, source = sources[0]
        return (DataMount(token=source.token, path=path, target=DATA_DIR, device=source.device, inode=source.inode),)
    mounts = [
        DataMount(
            token=source.token,
            path=path,
            target=f"{DATA_DIR}/{PurePosixPath(path).name}",
            device=source.device,
            inode=source.inode,
        )
        for path, source in sources
    ]
    if len({mount.target for mount in mounts}) < len(mounts):
        named = ", ".join(path for path, _ in sources)
        raise Conflict(f"two data sources have the same name: {named}; rename one, or name a folder that holds both")
    return tuple(mounts)
