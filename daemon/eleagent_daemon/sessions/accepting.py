"""How is a session accepted? What is wrong with it is said now; once accepted it is not forgotten."""

from __future__ import annotations

import msgspec

from eleagent.errors import BadRequest
from eleagent.wire.sessions import Session, SessionCreate, State
from eleagent_daemon.domain.doors import Gateway
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, SandboxSpec
from eleagent_daemon.sessions.admission import (
    check_limits,
    check_model,
    check_request,
    choose_policy,
    has_model,
    make_adapter,
    title,
)
from eleagent_daemon.sessions.catalogue import Catalogue, get_profile, version_of
from eleagent_daemon.sessions.keeper import effective
from eleagent_daemon.sessions.purse import Purses
from eleagent_daemon.sessions.resume import link
from eleagent_daemon.sessions.settings import Settings
from eleagent_daemon.sessions.spares import NOBODY, Spares
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.sessions.starting import Starting, place_data
from eleagent_daemon.store.registry import Record, Registry
from eleagent_daemon.store.timeline import now


class Accepting:
    def __init__(
        self,
        *,
        registry: Registry,
        catalogue: Catalogue,
        gateway: Gateway,
        starting: Starting,
        spares: Spares,
        purses: Purses,
        settings: Settings,
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._gateway = gateway
        self._starting = starting
        self._spares = spares
        self._purses = purses
        self._settings = settings

    async def accept(
        self, request: SessionCreate, *, by: Starter, before: Record | None, project: str
    ) -> tuple[Record, bool]:
        """The record, and whether it is new: a repeated token gets the first one's. `before` is the ended session that
        it goes on with. Raises UnknownAgent, BadRequest, Refused, ImageMissing, CredentialMissing, Conflict,
        Unavailable.
        """
        profile = get_profile(request.agent)
        if request.timeout_s is None:
            request = msgspec.structs.replace(request, timeout_s=self._settings.timeout_s)
        check_request(request, profile)
        check_limits(request.limits, self._settings.ceilings)
        if request.runtime not in (None, self._settings.runtime):
            raise BadRequest(f"runtime {request.runtime!r} is not here: this daemon has {self._settings.runtime}")
        policy = choose_policy(request, self._settings.default_policy, self._settings.policies)
        if profile.adapter != "command":
            check_model(self._gateway, request, policy)
            if request.model_script is None:
                await self._purses.check_user(by.owner)
        image = await self._catalogue.get_image(profile.name)
        # Whose the session will be is not known yet: every user of the pool can read the same.
        sources = await self._starting.open_sources(request.data, by.identity, reader_uid=POOL_FIRST_UID)
        place_data(sources)
        version, digest = version_of(image)
        session = Session(
            key="",
            name=request.name or "",
            state=State.QUEUED,
            agent=profile.name,
            owner=by.owner,
            created=now(),
            title=title(request),
            runtime=self._settings.runtime,
            policy=policy.name,
            model=request.model,
            scripted=request.model_script is not None,
            ask=request.ask,
            image=image.image_id,
            agent_version=version,
            agent_digest=digest,
            data=request.data,
            unreadable=[path for _, source in sources for path in source.unreadable],
            timeout_s=request.timeout_s,
            limits=effective(request.limits, self._settings.limits),
            user_day_usd=self._settings.user_day_usd,
            project=project,
            private=request.private,
            credential=by.credential,
            key_day_usd=by.key_day_usd,
        )
        if before is not None:
            session = link(session, before)
        shape = None if request.data or before is not None else self.shape(session, request, policy)
        async with self._spares.lend(shape) as spare:
            record, fresh = await self._registry.create_session(
                session,
                request,
                by.identity,
                token=by.token,
                reserved=spare,
                wanted_uid=before.uid if before is not None else None,
                admit=by.admit,
            )
            if spare is not None and record.session.key == spare.key:
                self._spares.spend(spare)
            return record, fresh

    def shape(self, session: Session, request: SessionCreate, policy: Policy) -> SandboxSpec:
        """The spare that would do for this session, which has no key yet."""
        profile = get_profile(session.agent)
        adapter = make_adapter(profile, "", request, model_door=has_model(self._gateway, request, policy))
        return self._starting.spec(NOBODY, session, adapter.launch()).spare()
