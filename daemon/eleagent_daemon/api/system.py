"""What does the daemon say about itself and this host, and how is it told to end?"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from eleagent.errors import Conflict, CredentialMissing, EleAgentError
from eleagent.operations.system import DAEMON_STOP, DOCTOR, OPENAPI, STATUS
from eleagent.version import __version__
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Session
from eleagent.wire.system import Doctor, Finding, Status, Stopping
from eleagent_daemon.account import account_name
from eleagent_daemon.api.openapi import document
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.choice import Choice
from eleagent_daemon.domain.launch import Host, HostFacts
from eleagent_daemon.sessions.catalogue import Catalogue
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import Registry
from eleagent_daemon.store.timeline import now

_NO_CREDENTIAL = "no credential"


class SystemHandlers:
    """`model` names the upstream or raises CredentialMissing; `stop` ends the daemon for good. `managed`: a service
    manager watches over it, and would start it again.
    """

    def __init__(
        self,
        *,
        home: str,
        installation: str,
        choice: Choice,
        mode: str,
        idle_s: float,
        model: Callable[[], str],
        launcher: LauncherClient,
        catalogue: Catalogue,
        registry: Registry,
        supervisor: Supervisor,
        ledger: Ledger,
        kept: Callable[[], Awaitable[list[Session]]],
        left: Callable[[], Mapping[str, str]],
        limits: SessionLimits,
        user_day_usd: float,
        stop: Callable[[], None],
        managed: bool,
    ) -> None:
        self._home = home
        self._installation = installation
        self._choice = choice
        self._mode = mode
        self._idle_s = idle_s
        self._model = model
        self._launcher = launcher
        self._catalogue = catalogue
        self._registry = registry
        self._supervisor = supervisor
        self._ledger = ledger
        self._kept = kept
        self._left = left
        self._limits = limits
        self._user_day_usd = user_day_usd
        self._stop = stop
        self._managed = managed
        self._started = now()

    def table(self) -> Handlers:
        return {STATUS: self.status, DOCTOR: self.doctor, OPENAPI: self.openapi, DAEMON_STOP: self.stop}

    async def status(self, call: Call) -> Status:
        greeting = self._launcher.greeting
        live = await self._registry.live()
        return Status(
            version=__version__,
            installation=self._installation,
            pid=os.getpid(),
            user=account_name(os.getuid()),
            caller=call.caller.name,
            role=call.caller.role,
            started=self._started,
            home=self._home,
            runtime=self._choice.runtime,
            runtime_why=self._choice.why,
            engine=(greeting.error or greeting.engine) if greeting else "not known: no launcher",
            launcher=f"pid {greeting.pid}, version {greeting.version}" if greeting else "not reached",
            model=self._model_line(),
            sessions_live=len(live),
            sessions_queued=self._supervisor.queued,
            slots=self._supervisor.slots,
            audit_records=self._ledger.last_seq,
            audit_head=self._ledger.head,
            limits=self._limits,
            user_day_usd=self._user_day_usd,
            audit_trouble=self._ledger.trouble or self._ledger.shortage,
            mode=self._mode,
            idle_s=self._idle_s,
        )

    async def stop(self, call: Call) -> Stopping:
        """It is the parent that has ended when all has. Raises Conflict where it would be started again."""
        if self._managed:
            raise Conflict("the service manager runs this daemon and would start it again: systemctl stop eleagent")
        live = await self._registry.live()
        self._stop()
        return Stopping(pid=os.getppid(), sessions_live=len(live))

    async def openapi(self, call: Call) -> dict[str, Any]:
        return document()

    async def doctor(self, call: Call) -> Doctor:
        findings = [Finding(name="runtime", level="ok", found=str(self._choice))]
        try:
            facts = await self._launcher.ask(Host(), HostFacts)
            findings += [Finding(name=one.name, level=one.level, found=one.found, fix=one.fix) for one in facts.facts]
        except EleAgentError as err:
            findings.append(Finding(name="launcher", level="fail", found=err.message, fix="eleagent daemon run"))
        findings.append(self._account())
        findings += [
            Finding(
                name="kept sandbox",
                level="warn",
                found=f"{session.key} was found changed and killed; it is kept until {session.kept_until}",
                fix=f"look at it: eleagent session show {session.key}, and on the host at its runtime's own tools",
            )
            for session in await self._kept()
        ]
        findings += [
            Finding(
                name="left sandbox",
                level="warn",
                found=f"{key} is over and its sandbox could not be removed: {why}",
                fix="it is tried every minute: on the host, see who holds it (lsof, fuser -m)",
            )
            for key, why in self._left().items()
        ]
        findings.append(self._audit())
        try:
            findings.append(Finding(name="model", level="ok", found=self._model()))
        except CredentialMissing:
            fix = "set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN where the daemon starts, or use --model-script"
            findings.append(Finding(name="model", level="warn", found=_NO_CREDENTIAL, fix=fix))
        try:
            findings += [
                Finding(
                    name=f"agent {agent.name}",
                    level="warn" if agent.needs else "ok",
                    found=agent.image,
                    fix=agent.needs or "",
                )
                for agent in await self._catalogue.list_agents()
            ]
        except EleAgentError as err:
            findings.append(Finding(name="agents", level="fail", found=err.message))
        return Doctor(findings=findings)

    def _audit(self) -> Finding:
        if damage := self._ledger.damage:
            fix = "keep the files; eleagent audit verify says what is wrong; eleagent audit restart begins a new log"
            return Finding(name="audit", level="fail", found=damage, fix=fix)
        if trouble := self._ledger.trouble:
            return Finding(
                name="audit", level="fail", found=trouble, fix="make room, or mend the disk: work is refused"
            )
        if shortage := self._ledger.shortage:
            return Finding(name="audit", level="warn", found=shortage, fix="make room before work is refused")
        return Finding(name="audit", level="ok", found=f"{self._ledger.last_seq} records")

    def _account(self) -> Finding:
        uid = os.getuid()
        if uid == 0:
            return Finding(
                name="daemon", level="fail", found="eleagentd runs as root", fix="start it with eleagent daemon run"
            )
        named = account_name(uid)
        if named == f"uid-{uid}":
            fix = "useradd --system --no-create-home eleagent, then start the daemon again"
            return Finding(
                name="daemon", level="warn", found=f"eleagentd runs as uid {uid}, which has no account", fix=fix
            )
        return Finding(name="daemon", level="ok", found=f"eleagentd runs as {named}")

    def _model_line(self) -> str:
        try:
            return self._model()
        except CredentialMissing:
            return _NO_CREDENTIAL
