"""What is a whole daemon over a launcher that is none? Everything of it that dies with it, over what does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from eleagent.errors import CredentialMissing
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import Session
from eleagent_daemon.domain.launch import ImageFacts
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.domain.policy import BUILT_IN
from eleagent_daemon.domain.sandbox import Ceilings, Limits, Mode
from eleagent_daemon.gateway.record import SessionView
from eleagent_daemon.sessions.approvals import Approvals
from eleagent_daemon.sessions.digest import Digest
from eleagent_daemon.sessions.ending import Ending
from eleagent_daemon.sessions.keeper import Rules
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import Spares
from eleagent_daemon.sessions.starting import Starting
from eleagent_daemon.sessions.supervisor import Supervisor
from eleagent_daemon.store.approvals import ApprovalStore
from eleagent_daemon.store.artefacts import Artefacts
from eleagent_daemon.store.registry import CallerIdentity, Registry
from eleagent_daemon.store.timeline import Timelines
from eleagent_daemon.store.usage import UsageStore

from .fakelauncher import FakeLauncher

CALLER = CallerIdentity(uid=0, gid=0, groups=[])
INSTALLATION = "machine"
SLOTS = 3


class NoModel:
    def check(self, terms: object) -> str:
        raise CredentialMissing("none")

    async def open(self, *given: object) -> Any:
        return Doors()


class Doors:
    def __init__(self) -> None:
        self.model = SessionView()

    async def close(self) -> None:
        return


class Silent:
    """What the audit log is told."""

    async def starting(self, live: object, *, attempt: int) -> int:
        return 1

    async def started(self, live: object, intent: int, outcome: str) -> None:
        return

    async def ended(self, live: object, ended: object) -> None:
        return

    def digest(self) -> Digest:
        return Digest(seal=str)

    async def observed(self, live: object, records: object) -> None:
        return


class Kept:
    """For ever."""

    def announced(self, session: Session) -> Session:
        return session


class Catalogue:
    async def get_image(self, name: str) -> ImageFacts:
        return ImageFacts("image", "image", 0, "", {})


class Daemon:
    """Its first act is `sessions.reconciler.begin`."""

    def __init__(
        self, *, registry: Registry, folder: Path, launcher: FakeLauncher, pool: ThreadPoolExecutor, slots: int = SLOTS
    ) -> None:
        self.timelines = Timelines(folder=folder, pool=pool)
        self.supervisor = Supervisor(slots=slots, slots_per_user=2)
        connection, lock = registry.shared()
        purses = Purses(store=UsageStore(connection=connection, lock=lock), allowance=Allowance())
        double, accounts = cast(Any, launcher), cast(Any, Silent())
        starting = Starting(
            launcher=double, gateway=cast(Any, NoModel()), accounts=accounts, purses=purses, installation=INSTALLATION,
            limits=Limits(), mode=Mode.STRICT, forbidden=[], tokens=lambda key, attempt: [f"{key}-{attempt}"],
        )  # fmt: skip
        ending = Ending(
            launcher=double, artefacts=Artefacts(folder=folder, pool=pool), timelines=self.timelines, accounts=accounts,
            keep_s=0, pool=pool,
        )  # fmt: skip
        self.sessions = Sessions(
            registry=registry, timelines=self.timelines, catalogue=cast(Any, Catalogue()), launcher=double,
            gateway=cast(Any, NoModel()), starting=starting,
            spares=Spares(launcher=double, registry=registry, count=0), ending=ending, accounts=accounts,
            approvals=Approvals(store=ApprovalStore(registry=registry), ledger=cast(Any, None)), purses=purses,
            retention=cast(Any, Kept()), supervisor=self.supervisor, pool=pool,
            settings=Settings(
                home=folder, runtime="docker", default_policy="model-only", policies=BUILT_IN, timeout_s=600,
                grace_s=0, output_bytes=1 << 20, limits=SessionLimits(), ceilings=Ceilings(), user_day_usd=0,
                kept_most=0, rules=Rules(warn_percent=80, on_hang="tell"),
            ),
        )  # fmt: skip
