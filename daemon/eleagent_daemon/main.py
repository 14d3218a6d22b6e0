"""What is eleagentd made of? Everything is built here, once and in order; each part gets only what it uses."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import web

from eleagent.errors import ConfigError, Conflict, EleAgentError
from eleagent.operations.operation import Kind
from eleagent.version import __version__
from eleagent_daemon.account import daemon_account, group_rule
from eleagent_daemon.api.agents import AgentHandlers
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.approvals import ApprovalHandlers
from eleagent_daemon.api.artefacts import ArtefactHandlers
from eleagent_daemon.api.audit import AuditHandlers
from eleagent_daemon.api.conversations import ConversationHandlers
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.egress import EgressHandlers
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.api.keys import KeyHandlers
from eleagent_daemon.api.logins import LoginHandlers
from eleagent_daemon.api.organization import OrganizationHandlers
from eleagent_daemon.api.pipeline import Pipeline
from eleagent_daemon.api.projects import ProjectHandlers
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.api.system import SystemHandlers
from eleagent_daemon.api.tcp import TcpSite
from eleagent_daemon.api.usage import UsageHandlers
from eleagent_daemon.api.users import UserHandlers
from eleagent_daemon.checkpoints import Departures
from eleagent_daemon.choice import chosen
from eleagent_daemon.config import Config, credentials_folder, load, parse_flags, take_credential
from eleagent_daemon.domain.doors import Terms
from eleagent_daemon.domain.policy import MODEL_ONLY
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.prices import read_prices
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.identity import assembly
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Lives
from eleagent_daemon.identity.passwords import Cost
from eleagent_daemon.idle import until_unneeded
from eleagent_daemon.journal import start_logging
from eleagent_daemon.layout import Layout
from eleagent_daemon.listen import bind_socket, hold_lock, notify, remove_socket
from eleagent_daemon.network import WayIn, open_tcp
from eleagent_daemon.privileges import drop_to
from eleagent_daemon.sessions.accounts import Accounts
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.catalogue import Catalogue
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.keeper import Rules
from eleagent_daemon.sessions.launchclient import LauncherClient
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.retention import Retention
from eleagent_daemon.sessions.service import Sessions, Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.sessions.traces import find_traces
from eleagent_daemon.sessions.vigil import Vigil
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.conversations import Conversations
from eleagent_daemon.store.egress import Egress
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.keeping import Keeper
from eleagent_daemon.store.ledger.recovery import take_up
from eleagent_daemon.store.registry import Registry
from eleagent_daemon.store.timeline import Timelines
from eleagent_daemon.store.usage import UsageStore
from eleagent_daemon.supervise import FATAL, UNNEEDED


async def serve(config: Config, credential: Credential | None, way_in: WayIn | None = None) -> bool:
    """The daemon, from its lock to its end. Sessions live on when it ends: the next one adopts them.

    Returns whether it ended by itself, unneeded.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        # What is kept.
        layout = Layout(Path(config.home))
        installation = layout.installation()
        choice = chosen(config.runtime, layout.runtime_file)
        stack.enter_context(hold_lock(layout.lock))
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=6, thread_name_prefix="disk"))
        ledger = await Ledger.open(layout.ledger, secrets=layout.secrets, installation=installation, pool=pool)
        stack.push_async_callback(ledger.close)
        registry = await Registry.open(layout.registry)
        stack.push_async_callback(registry.close)
        connection, lock = registry.shared()
        usage = UsageStore(connection=connection, lock=lock)
        timelines = Timelines(folder=layout.timelines, pool=pool)
        egress = await Egress.open(layout.egress, timelines=timelines, folder=layout.timelines, pool=pool)
        stack.push_async_callback(egress.close)
        artefacts = Artefacts(folder=layout.sessions, pool=pool)

        # What leaves: the one part that holds the model's credential.
        prices = read_prices(config.model.prices)
        gateway = Gateway(credential=credential, base_url=config.model.upstream, prices=prices)
        stack.push_async_callback(gateway.close)

        # What runs: the launcher is another process, met through its verbs.
        launcher = LauncherClient(socket_path=layout.launcher_socket, version=__version__)
        supervisor = Supervisor(slots=config.session.slots, slots_per_user=config.session.slots_per_user)
        stack.push_async_callback(supervisor.close)
        supervisor.serve("launcher", launcher.run)
        departures = Departures(config.audit.checkpoints_to)
        ledger.publish_to(departures.publish)
        supervisor.serve("audit", ledger.run)
        supervisor.serve("checkpoints", departures.run)
        supervisor.serve("keeper", Keeper(ledger=ledger, days=config.audit.retention_days, pool=pool).run)
        catalogue = Catalogue(folder=layout.agents, launcher=launcher, pool=pool)
        accounts = Accounts(ledger=ledger)
        purses = Purses(store=usage, allowance=config.day_allowance())
        starting = Starting(
            launcher=launcher,
            gateway=gateway,
            accounts=accounts,
            purses=purses,
            installation=installation,
            limits=config.limits,
            mode=config.session.mode,
            forbidden=[config.home, str(Path(config.socket).parent)],
        )
        spares = Spares(launcher=launcher, registry=registry, count=config.session.spares)
        stack.push_async_callback(spares.close)
        supervisor.serve("spares", spares.run)
        ending = Ending(
            launcher=launcher,
            artefacts=artefacts,
            timelines=timelines,
            accounts=accounts,
            keep_s=config.session.kept_s if config.session.kept_most else 0,
            pool=pool,
        )
        conversations = Conversations(folder=layout.conversations, pool=pool)
        retention = Retention(
            registry=registry,
            timelines=timelines,
            artefacts=artefacts,
            conversations=conversations,
            launcher=launcher,
            ledger=ledger,
            keep_days=config.session.keep_days,
        )
        supervisor.serve("retention", retention.run)
        approvals = Approvals(store=ApprovalStore(registry=registry), ledger=ledger)
        supervisor.serve("approvals", approvals.run)
        sessions = Sessions(
            registry=registry,
            timelines=timelines,
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
            ledger=ledger,
            launcher=launcher,
            accounts=accounts,
            runners=sessions.runners,
            grace_s=config.audit.pause_grace_s,
            pause_on_loss=config.session.on_daemon_loss == "pause",
        )
        supervisor.serve("vigil", vigil.run)

        # Who is met.
        keyring = await asyncio.to_thread(Keyring.open, layout.keyring, credentials=credentials_folder(os.environ))
        terms = assembly.Terms(
            access_s=config.login.access_s,
            lives=Lives(idle_s=config.login.idle_s, whole_s=config.login.whole_s),
            cost=Cost(**msgspec.structs.asdict(config.password)),
        )
        identity = await assembly.open_identity(
            stack, database=layout.auth, keyring=keyring, issuer=installation, terms=terms
        )
        group = group_rule(config.unix.group, config.unix.role)
        peers = Peers(people=identity.people, projects=identity.project_rows, group=group)
        await peers.admit_system()
        door = Door(
            people=identity.people,
            peers=peers,
            logins=identity.logins,
            tokens=identity.tokens,
            keys=identity.keys,
            projects=identity.project_rows,
            addresses=identity.addresses,
            behind_proxy=config.behind_proxy,
        )

        # What people meet.
        system = SystemHandlers(
            home=config.home,
            installation=installation,
            choice=choice,
            mode=config.session.mode,
            idle_s=config.idle_s,
            model=lambda: gateway.check(Terms(session="", policy=MODEL_ONLY)),
            launcher=launcher,
            catalogue=catalogue,
            registry=registry,
            supervisor=supervisor,
            ledger=ledger,
            kept=sessions.reconciler.kept,
            limits=config.session_limits(),
            user_day_usd=config.budget.user_day_usd,
        )
        approval_handlers = ApprovalHandlers(approvals=approvals)
        users = UserHandlers(membership=identity.membership, people=identity.people, logins=identity.logins)
        handlers = {
            **system.table(),
            **LoginHandlers(logins=identity.logins, people=identity.people, addresses=identity.addresses).table(),
            **users.table(),
            **ProjectHandlers(projects=identity.projects).table(),
            **KeyHandlers(keys=identity.keys, people=identity.people).table(),
            **OrganizationHandlers(
                membership=identity.membership,
                people=identity.people,
                logins=identity.logins,
                keyring=keyring,
                registry=registry,
            ).table(),
            **SessionHandlers(sessions=sessions, timelines=timelines, projects=identity.projects).table(),
            **approval_handlers.table(),
            **ArtefactHandlers(sessions=sessions, artefacts=artefacts).table(),
            **EgressHandlers(sessions=sessions, egress=egress).table(),
            **ConversationHandlers(
                sessions=sessions,
                timelines=timelines,
                conversations=conversations,
                retention=retention,
            ).table(),
            **AgentHandlers(catalogue=catalogue).table(),
            **AuditHandlers(sessions=sessions, ledger=ledger, pool=pool).table(),
            **UsageHandlers(usage=usage, prices=prices).table(),
        }
        pipeline = Pipeline(
            ledger=ledger,
            doorkeeper=door,
            resolvers={
                Kind.SESSION: sessions.find,
                Kind.USER: identity.membership.find,
                Kind.LOGIN: users.find_login,
                Kind.API_KEY: identity.keys.find_owned,
                Kind.PROJECT: identity.projects.find,
                Kind.APPROVAL: approval_handlers.find,
                Kind.GRANT: approval_handlers.find_grant,
            },
            hosts=frozenset({"localhost", "127.0.0.1", "::1", *config.hosts}),
        )
        app = make_app(pipeline=pipeline, handlers=handlers)
        web_runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await web_runner.setup()
        stack.push_async_callback(web_runner.cleanup)

        await take_up(ledger, version=__version__, look=partial(find_traces, registry))
        await sessions.recover()
        socket = Path(config.socket)
        await web.SockSite(web_runner, bind_socket(socket, gid=group.gid if group else None)).start()
        stack.callback(remove_socket, socket)
        if way_in is not None:
            site = TcpSite(web_runner, way_in.listener, tls=way_in.tls)
            await site.start()
            stack.push_async_callback(site.close)
        notify("READY=1")
        unneeded = await until_unneeded(
            stopped, idle_s=config.idle_s, served=web_runner.server, sessions=registry.live, socket=socket
        )
        notify("STOPPING=1")
        return unneeded


def main(arguments: Sequence[str] | None = None) -> int:
    """eleagentd by itself; people start it, with its launcher, by `eleagent daemon run`, which made its folders."""
    try:
        flags, file = parse_flags(sys.argv[1:] if arguments is None else arguments)
        config, _ = load(flags, environ=os.environ, file=file)
        kind, secret = take_credential(config, os.environ)
        credential = Credential(kind=kind, secret=secret) if secret else None
        way_in = open_tcp(config.listen, cert=config.tls.cert, key=config.tls.key) if config.listen else None
        if os.getuid() == 0:
            drop_to(*daemon_account(config.user))
        start_logging(config.log_level)
        unneeded = asyncio.run(serve(config, credential, way_in))
    except EleAgentError as err:
        print(f"eleagent: {err.message}", file=sys.stderr)  # noqa: T201 - told to whoever started it
        return FATAL if isinstance(err, ConfigError | Conflict) else err.exit_code
    return UNNEEDED if unneeded else 0


if __name__ == "__main__":
    sys.exit(main())
