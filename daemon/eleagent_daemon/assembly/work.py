"""What runs sessions, and what looks after them? The launcher is another process, met through its verbs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from eleagent.version import __version__
from eleagent_daemon.assembly.kept import Kept
from eleagent_daemon.checkpoints import Departures
from eleagent_daemon.choice import Choice
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.identity.sessiontokens import SessionTokens
from eleagent_daemon.layout import Layout
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.catalogue import Catalogue
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.keeper import Rules
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.sessions.vigil import Vigil
from eleagent_daemon.settings import Config
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.ledger.keeping import Keeper


@dataclass(frozen=True, kw_only=True)
class Work:
    launcher: LauncherClient
    supervisor: Supervisor
    catalogue: Catalogue
    approvals: Approvals
    retention: Retention
    sessions: Sessions


async def open_work(
    stack: AsyncExitStack,
    *,
    config: Config,
    layout: Layout,
    installation: str,
    choice: Choice,
    kept: Kept,
    gateway: Gateway,
    tokens: SessionTokens,
    pool: ThreadPoolExecutor,
) -> Work:
    """At work until `stack` closes; sessions live on."""
    launcher = LauncherClient(socket_path=layout.launcher_socket, version=__version__)
    supervisor = Supervisor(slots=config.session.slots, slots_per_user=config.session.slots_per_user)
    stack.push_async_callback(supervisor.close)
    supervisor.serve("launcher", launcher.run)
    departures = Departures(config.audit.checkpoints_to)
    kept.ledger.publish_to(departures.publish)
    supervisor.serve("audit", kept.ledger.run)
    supervisor.serve("registry", kept.registry.database.run)
    supervisor.serve("checkpoints", departures.run)
    supervisor.serve("keeper", Keeper(ledger=kept.ledger, days=config.audit.retention_days, pool=pool).run)
    catalogue = Catalogue(folder=layout.agents, launcher=launcher, pool=pool)
    accounts = Accounts(ledger=kept.ledger)
    purses = Purses(store=kept.usage, allowance=config.day_allowance())
    starting = Starting(
        launcher=launcher,
        gateway=gateway,
        accounts=accounts,
        purses=purses,
        installation=installation,
        limits=config.limits,
        mode=config.session.mode,
        forbidden=[config.home, str(Path(config.socket).parent)],
        tokens=tokens.of,
    )
    spares = Spares(launcher=launcher, registry=kept.registry, count=config.session.spares)
    stack.push_async_callback(spares.close)
    supervisor.serve("spares", spares.run)
    ending = Ending(
        launcher=launcher,
        artefacts=kept.artefacts,
        timelines=kept.timelines,
        accounts=accounts,
        keep_s=config.session.kept_s if config.session.kept_most else 0,
        pool=pool,
    )
    retention = Retention(
        registry=kept.registry,
        timelines=kept.timelines,
        artefacts=kept.artefacts,
        conversations=kept.conversations,
        launcher=launcher,
        ledger=kept.ledger,
        keep_days=config.session.keep_days,
    )
    supervisor.serve("retention", retention.run)
    approvals = Approvals(store=ApprovalStore(registry=kept.registry), ledger=kept.ledger)
    supervisor.serve("approvals", approvals.run)
    sessions = Sessions(
        registry=kept.registry,
        timelines=kept.timelines,
        catalogue=catalogue,
        launcher=launcher,
        gateway=gateway,
        starting=starting,
        spares=spares,
        ending=ending,
        approvals=approvals,
        purses=purses,
        accounts=accounts,
        retention=retention,
        supervisor=supervisor,
        settings=Settings(
            home=layout.home,
            runtime=choice.runtime,
            default_policy=config.session.policy,
            policies=config.all_policies(),
            timeout_s=config.session.timeout_s,
            grace_s=config.session.stop_grace_s,
            output_bytes=config.session.output_bytes,
            limits=config.session_limits(),
            ceilings=config.ceilings,
            user_day_usd=config.budget.user_day_usd,
            kept_most=config.session.kept_most,
            rules=Rules(warn_percent=config.budget.warn_percent, on_hang=config.budget.on_hang),
        ),
        pool=pool,
    )

    stack.push_async_callback(sessions.close)
    vigil = Vigil(
        ledger=kept.ledger,
        launcher=launcher,
        accounts=accounts,
        runners=sessions.runners,
        grace_s=config.audit.pause_grace_s,
        pause_on_loss=config.session.on_daemon_loss == "pause",
    )
    supervisor.serve("vigil", vigil.run)
    return Work(
        launcher=launcher,
        supervisor=supervisor,
        catalogue=catalogue,
        approvals=approvals,
        retention=retention,
        sessions=sessions,
    )
