"""Who answers for the model, and how is it reached?"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from eleagent.errors import ConfigError, Unavailable
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.denial import Denied
from eleagent_daemon.gateway.network import CONNECT_S, Network, checked_addresses

PROVIDER_URL: Final = "https://api.anthropic.com"
SILENCE_S: Final = 600.0
"""The longest pause in an answer: the CLI's own time limit. The provider pings a stream every few seconds."""


@dataclass(frozen=True)
class Call:
    """A request that passed the door. `target` is path and query; `body` is `message`, encoded."""

    target: str
    headers: Mapping[str, str]
    betas: tuple[str, ...]
    body: bytes
    message: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`chunks` come as they arrive, unbuffered; reading them raises UpstreamDown when the answer breaks off."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class UpstreamDown(Unavailable):
    """The model's upstream can't be reached or broke off its answer."""


class Upstream(Protocol):
    @property
    def name(self) -> str:
        """For people and events."""

    def ask(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Raises UpstreamDown."""


class ProviderUpstream:
    """The provider over HTTPS with the daemon's credential. Follows no redirect, uses no proxy of the environment.

    `base_url` is the operator's own setting: it alone may name an http URL, on loopback, for tests and rehearsals.
    """

    def __init__(self, *, base_url: str, credential: Credential, network: Network) -> None:
        self._base = _checked_base(base_url)
        self._credential = credential
        self._resolver = _CheckedResolver(network)
        self._client: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return str(self._base).rstrip("/")

    @asynccontextmanager
    async def ask(self, call: Call) -> AsyncIterator[Answer]:
        headers = {
            **call.headers,
            **self._credential.headers(call.betas),
            "content-type": "application/json",
            "accept-encoding": "identity",
        }
        url = URL(self.name + call.target, encoded=True)
        body = io.BytesIO(call.body)
        try:
            response = await self._session().post(url, data=body, headers=headers, allow_redirects=False)
        except Denied as denied:
            raise UpstreamDown(denied.message) from denied
        except (aiohttp.ClientError, OSError) as error:
            raise self._down(error) from error
        async with response:
            if 300 <= response.status < 400:
                raise UpstreamDown(f"the model's upstream {self.name} redirects, which is not followed")
            yield Answer(response.status, response.headers, self._chunks(response))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._down(error) from error

    def _down(self, error: Exception) -> UpstreamDown:
        return UpstreamDown(f"the model's upstream {self.name} can't be reached or broke off ({_cause(error)})")

    def _session(self) -> aiohttp.ClientSession:
        """Made at the first call, since it belongs to the running loop."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=self._resolver, use_dns_cache=False, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers={"user-agent"},
                trust_env=False,
            )
        return self._client


class _CheckedResolver(AbstractResolver):
    """Gives the client checked addresses only; it connects to what it is given."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await checked_addresses(self._network, host, port)
        ]

    async def close(self) -> None:
        pass


def _checked_base(base_url: str) -> URL:
    try:
        base = URL(base_url)
    except ValueError as error:
        raise ConfigError(f"model URL {base_url!r}: {error}") from error
    if base.host is None or base.user or base.query_string or base.fragment:
        raise ConfigError("the model's URL is https://HOST[:PORT][/PATH], without user, query or fragment")
    if base.scheme != "https" and not (base.scheme == "http" and _is_loopback(base.host)):
        raise ConfigError(
            f"model URL {base_url!r}: only https, or http to a loopback address, keeps the credential safe"
        )
    return base


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _cause(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "it took too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
