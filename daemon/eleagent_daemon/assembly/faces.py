"""What do people meet? The operations, behind the pipeline that each request passes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from aiohttp import web

from eleagent.operations.operation import Kind
from eleagent.wire.policies import PolicyTerms
from eleagent_daemon.api.agents import AgentHandlers
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.approvals import ApprovalHandlers
from eleagent_daemon.api.artefacts import ArtefactHandlers
from eleagent_daemon.api.audit import AuditHandlers
from eleagent_daemon.api.conversations import ConversationHandlers
from eleagent_daemon.api.egress import EgressHandlers
from eleagent_daemon.api.keys import KeyHandlers
from eleagent_daemon.api.logins import LoginHandlers
from eleagent_daemon.api.organization import OrganizationHandlers
from eleagent_daemon.api.pipeline import Pipeline
from eleagent_daemon.api.policies import PolicyHandlers
from eleagent_daemon.api.projects import ProjectHandlers
from eleagent_daemon.api.sessions import SessionHandlers
from eleagent_daemon.api.system import SystemHandlers
from eleagent_daemon.api.usage import UsageHandlers
from eleagent_daemon.api.users import UserHandlers
from eleagent_daemon.assembly.kept import Kept
from eleagent_daemon.assembly.people import Entrance
from eleagent_daemon.assembly.work import Work
from eleagent_daemon.choice import Choice
from eleagent_daemon.domain.doors import Terms
from eleagent_daemon.domain.policy import MODEL_ONLY
from eleagent_daemon.domain.prices import PriceList
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.listen import is_managed
from eleagent_daemon.sessions.views import Views
from eleagent_daemon.settings import Config


def make_api(
    *,
    config: Config,
    installation: str,
    choice: Choice,
    kept: Kept,
    work: Work,
    people: Entrance,
    gateway: Gateway,
    prices: PriceList,
    pool: ThreadPoolExecutor,
    stop: Callable[[], None],
) -> web.Application:
    """Every operation with its handler, behind the one pipeline. `stop` ends the daemon."""
    identity = people.identity
    system = SystemHandlers(
        home=config.home,
        installation=installation,
        choice=choice,
        mode=config.session.mode,
        idle_s=config.idle_s,
        model=lambda: gateway.check(Terms(session="", policy=MODEL_ONLY)),
        launcher=work.launcher,
        catalogue=work.catalogue,
        registry=kept.registry,
        supervisor=work.supervisor,
        ledger=kept.ledger,
        kept=work.sessions.reconciler.kept,
        left=lambda: work.sessions.reconciler.left,
        limits=config.session_limits(),
        user_day_usd=config.budget.user_day_usd,
        stop=stop,
        managed=is_managed(),
    )
    approval_handlers = ApprovalHandlers(approvals=work.approvals, sessions=work.sessions)
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
            keyring=people.keyring,
            registry=kept.registry,
        ).table(),
        **SessionHandlers(sessions=work.sessions, timelines=kept.timelines, projects=identity.projects).table(),
        **approval_handlers.table(),
        **ArtefactHandlers(sessions=work.sessions, artefacts=kept.artefacts).table(),
        **EgressHandlers(sessions=work.sessions, egress=kept.egress).table(),
        **PolicyHandlers(
            policies=config.all_policies(), default=config.session.policy, terms=policy_terms(config)
        ).table(),
        **ConversationHandlers(
            sessions=work.sessions,
            timelines=kept.timelines,
            conversations=kept.conversations,
            retention=work.retention,
        ).table(),
        **AgentHandlers(catalogue=work.catalogue).table(),
        **AuditHandlers(sessions=work.sessions, ledger=kept.ledger, pool=pool).table(),
        **UsageHandlers(usage=kept.usage, prices=prices).table(),
    }
    pipeline = Pipeline(
        ledger=kept.ledger,
        doorkeeper=people.door,
        resolvers={
            Kind.SESSION: work.sessions.find,
            Kind.USER: identity.membership.find,
            Kind.LOGIN: users.find_login,
            Kind.API_KEY: identity.keys.find_owned,
            Kind.PROJECT: identity.projects.find,
            Kind.APPROVAL: approval_handlers.find,
            Kind.GRANT: approval_handlers.find_grant,
        },
        disclosed=Views(registry=kept.registry, find_live=work.sessions.find_live).note,
        hosts=frozenset({"localhost", "127.0.0.1", "::1", *config.hosts}),
    )
    return make_app(pipeline=pipeline, handlers=handlers)


def policy_terms(config: Config) -> PolicyTerms:
    """What the operator set for every session."""
    sandbox = config.limits
    return PolicyTerms(
        mode=config.session.mode,
        timeout_s=config.session.timeout_s,
        limits=msgspec.structs.replace(
            config.session_limits(),
            memory_bytes=sandbox.memory_bytes,
            cpus=sandbox.cpus,
            pids=sandbox.pids,
            disk_bytes=sandbox.disk_bytes,
            stop_grace_s=config.session.stop_grace_s,
        ),
        user_day_usd=config.budget.user_day_usd,
        key_day_usd=config.budget.key_day_usd,
        project_day_usd=config.budget.project_day_usd,
        keep_days=config.session.keep_days,
        audit_keep_days=config.audit.retention_days,
    )
