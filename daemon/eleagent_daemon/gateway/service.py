"""What is the gateway, seen from outside? It says who would answer for the model, and serves a session's doors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

from eleagent.errors import CredentialMissing
from eleagent_daemon.domain.doors import ModelView, Purse, Self, Sink, Terms, Unbounded
from eleagent_daemon.domain.prices import PriceList
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.model import ModelDoor
from eleagent_daemon.gateway.network import HostNetwork, Network
from eleagent_daemon.gateway.prices import SHIPPED
from eleagent_daemon.gateway.record import Recorder, SessionView
from eleagent_daemon.gateway.script import ScriptUpstream, parse_script
from eleagent_daemon.gateway.session import SessionDoor
from eleagent_daemon.gateway.tunnel import TunnelDoor
from eleagent_daemon.gateway.upstream import PROVIDER_URL, ProviderUpstream, Upstream

DOORS: Final = frozenset({"tunnel", "model", "session"})

Door = ModelDoor | TunnelDoor | SessionDoor


class Gateway:
    """One a daemon (`domain.doors.Gateway`). Sessions share the connections to the provider and nothing else.

    `base_url` is the operator's setting. Raises ConfigError when it would carry the credential in clear.
    """

    def __init__(
        self,
        *,
        credential: Credential | None,
        base_url: str = PROVIDER_URL,
        network: Network | None = None,
        prices: PriceList | None = None,
    ) -> None:
        self._prices = prices or SHIPPED
        self._network = network or HostNetwork()
        self._turns = asyncio.Semaphore(1)
        self._provider = (
            ProviderUpstream(base_url=base_url, credential=credential, network=self._network) if credential else None
        )

    def check(self, terms: Terms) -> str:
        """The upstream's name, empty when the policy gives no model. Raises CredentialMissing, BadRequest (script)."""
        return self._upstream(terms).name if terms.policy.model else ""

    async def open(
        self,
        sockets: Mapping[str, socket.socket],
        terms: Terms,
        sink: Sink,
        purse: Purse = Unbounded(),  # noqa: B008 - it has no state
        own: Self | None = None,
    ) -> GatewayDoors:
        """`own` is what the session door, where there is one, is a door to."""
        if foreign := sorted(sockets.keys() - DOORS):
            raise ValueError(f"no such door: {foreign[0]}")
        upstream = self._upstream(terms) if "model" in sockets else None
        recorder, view = Recorder(sink), SessionView(usage=terms.usage, stop_reason=terms.stop_reason)
        doors: list[Door] = []
        if upstream is not None:
            doors.append(
                ModelDoor(
                    listener=sockets["model"],
                    policy=terms.policy,
                    upstream=upstream,
                    recorder=recorder,
                    view=view,
                    purse=purse,
                    prices=self._prices,
                    turns=self._turns,
                    ask=sink.ask,
                )
            )
        if "tunnel" in sockets:
            doors.append(
                TunnelDoor(
                    listener=sockets["tunnel"],
                    policy=terms.policy,
                    network=self._network,
                    recorder=recorder,
                    purse=purse,
                    ask=sink.ask,
                )
            )
        if "session" in sockets:
            if own is None:
                raise ValueError("a session door needs to know what it is a door to")
            doors.append(SessionDoor(listener=sockets["session"], tokens=terms.tokens, own=own, recorder=recorder))
        return GatewayDoors(doors=doors, recorder=recorder, view=view)

    async def close(self) -> None:
        """After the doors: let go of the connections to the provider."""
        if self._provider is not None:
            await self._provider.close()

    def _upstream(self, terms: Terms) -> Upstream:
        if terms.model_script is not None:
            return ScriptUpstream(parse_script(terms.model_script))
        if self._provider is None:
            raise CredentialMissing(
                "no credential for the model: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN in the daemon's "
                "environment, or rehearse with --model-script FILE"
            )
        return self._provider


class GatewayDoors:
    """One session's open doors (`domain.doors.OpenDoors`)."""

    def __init__(self, *, doors: list[Door], recorder: Recorder, view: SessionView) -> None:
        self._doors = doors
        self._recorder = recorder
        self._view = view

    @property
    def model(self) -> ModelView:
        return self._view

    async def close(self) -> None:
        for door in self._doors:
            await door.close()
        await self._recorder.close()
