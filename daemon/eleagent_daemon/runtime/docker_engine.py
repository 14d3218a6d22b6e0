"""How is a container engine asked, and what becomes of its errors? The one edge between aiodocker and EleAgent."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiodocker import Docker, DockerError

from eleagent.errors import Conflict, EleAgentError, EngineUnavailable, NotFound
from eleagent_daemon.kernel.calls import start_ticks
from eleagent_daemon.runtime.docker_answers import Version
from eleagent_daemon.runtime.docker_streams import Hijacked, open_hijacked

_PEER = struct.Struct("3i")
_PING = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_PID_FILE = Path("/run/docker.pid")

ANSWER_LIMIT_S = 60.0
"""An engine that has not answered a plain question by then is taken to be down."""


@dataclass(frozen=True)
class _Connection:
    docker: Docker
    connector: aiohttp.UnixConnector
    version: Version

    async def close(self) -> None:
        await self.docker.close()
        await self.connector.close()


class Engine:
    """A container engine behind a Unix socket, connected to when it is first asked.

    API version: the engine's own newest, since a pinned one is refused from one side or the other (20.10 ends at 1.41,
    29 begins at 1.44); what is used here is in all of them.
    """

    def __init__(self, *, socket: str) -> None:
        self.socket = socket.removeprefix("unix://")
        self._connection: _Connection | None = None

    @asynccontextmanager
    async def asked(self, action: str, limit_s: float | None = ANSWER_LIMIT_S) -> AsyncIterator[Docker]:
        """The client, for one question. What the engine refuses is an EleAgentError that names `action`; that it is not
        there, or is none, is EngineUnavailable with what to do after the first colon.
        """
        async with self._translating(action, limit_s):
            yield (await self._connect()).docker

    @asynccontextmanager
    async def _translating(self, action: str, limit_s: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(limit_s):
                yield
        except (DockerError, aiohttp.ClientError, OSError, EOFError, ValueError, KeyError, msgspec.MsgspecError) as err:
            raise self._translated(err, action) from err

    @asynccontextmanager
    async def streamed(
        self, action: str, method: str, path: str, *, params: Mapping[str, str], data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A long answer as raw bytes: aiodocker decodes logs as text and reads a build's files on the event loop."""
        async with self.asked(action, None) as docker:
            url = f"{docker.docker_host}/{docker.api_version}{path}"
            headers = {"Content-Type": "application/x-tar"} if data is not None else {}
            response = await docker.session.request(method, url, params=params, data=data, headers=headers)
            try:
                if response.status >= 400:
                    raise DockerError(response.status, _message(await response.read()))
                yield response
            finally:
                response.close()

    async def hijack(self, action: str, path: str) -> Hijacked:
        """A raw connection to a container's streams."""
        async with self.asked(action) as docker:
            status, body, connection = await open_hijacked(self.socket, f"/{docker.api_version}{path}")
            if connection is None:
                raise DockerError(status, _message(body))
            return connection

    async def version(self) -> Version:
        """As it was when the engine was first asked."""
        async with self.asked("say its version"):
            return (await self._connect()).version

    async def began(self) -> float:
        """When the engine that answers new questions was started, since the epoch; 0 where that can't be told.

        Raises EngineUnavailable where none does: one that is being stopped answers nothing but what it was asked
        before.
        """
        async with self._translating("say that it is there", ANSWER_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(self.socket)
            try:
                writer.write(_PING)
                await reader.readexactly(1)
                peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            finally:
                writer.close()
        pid, _, _ = _PEER.unpack(peer)
        return await asyncio.to_thread(_started, pid)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> _Connection:
        if self._connection is None:
            # No limit: each session holds a `wait`, some a log, and the 101st question would hang behind them.
            connector = aiohttp.UnixConnector(self.socket, limit=0)
            docker = Docker("unix://localhost", connector=connector)
            try:
                connection = _Connection(docker, connector, msgspec.convert(await docker.version(), Version))
            except BaseException as err:
                await docker.close()
                await connector.close()
                if isinstance(err, TypeError) or (isinstance(err, DockerError) and err.status < 500):
                    # Its "not found" is not a container's: nothing may be concluded from it.
                    raise ValueError(f"no version: {err}") from err
                raise
            if self._connection is not None:  # another question was faster
                await connection.close()
            else:
                self._connection = connection
        return self._connection

    def _translated(self, err: Exception, action: str) -> EleAgentError:
        if isinstance(err, DockerError) and 400 <= err.status < 600:
            if err.status in (401, 403):
                why = f"the container engine at {self.socket} gives no right to {action}: {err.message}"
                return EngineUnavailable(why, socket=self.socket)
            kind = {404: NotFound, 409: Conflict, 503: EngineUnavailable}.get(err.status, EleAgentError)
            if kind is NotFound and not any(word in err.message.lower() for word in ("no such", "not known")):
                kind = EngineUnavailable  # a path is unknown, not a container: not an answer to what was asked
            return kind(f"the container engine could not {action}: {err.message}")
        match _errno(err):
            case errno.ENOENT:
                why = "no container engine at {}: install one (apt-get install docker.io) or set docker.socket"
            case errno.EACCES | errno.EPERM:
                why = "no right to the container engine at {}: run as root or as a member of the group that owns it"
            case errno.ECONNREFUSED:
                why = "the container engine at {} does not run: start it (systemctl start docker)"
            case errno.ENOTSOCK | errno.ENOTDIR:
                why = "{} is not a container engine's socket: set docker.socket"
            case _ if isinstance(err, TimeoutError):
                why = "the container engine at {} did not answer in time: see its log (journalctl -u docker)"
            case _ if isinstance(err, (OSError, EOFError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
                why = "the container engine at {} broke off: see its log (journalctl -u docker)"
            case _:
                why = "what answers at {} does not speak the Docker Engine API: set docker.socket"
        return EngineUnavailable(why.format(self.socket), socket=self.socket)


def _started(listener: int) -> float:
    try:
        # Where the service manager listens for it, the engine itself says which process it is.
        pid = listener if listener > 1 else int(_PID_FILE.read_text())
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks(pid) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0
    return time.time() - age_s


def _errno(err: BaseException) -> int | None:
    """aiodocker wraps a failed connection without a cause, so the chain of contexts is followed too."""
    link: BaseException | None = err
    while link is not None:
        if isinstance(link, OSError) and link.errno is not None:
            return link.errno
        link = link.__cause__ or link.__context__
    return None


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:500].decode(errors="replace").strip()
