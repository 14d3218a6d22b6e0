"""How do verbs reach the launcher, from eleagentd alone?"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import BadRequest, EleAgentError
from eleagent.wire.sessions import KEY_PATTERN
from eleagent_daemon.domain.channel import Channel, close_all
from eleagent_daemon.domain.launch import AnyVerb, Consumed, Create, Failed, Heartbeat, Hello, Notice, Reply, Verb
from eleagent_daemon.launcher.tasks import Tasks
from eleagent_daemon.launcher.verbs import Handler

log = logging.getLogger(__name__)

_PEER: Final = struct.Struct("3i")
_decoder: Final = msgspec.json.Decoder(AnyVerb)


class Server:
    """A SOCK_SEQPACKET listener for one daemon at a time; a newer connection replaces the older.

    Notices go to whoever is connected. Of a session's `spooled` only the newest waits while the daemon is slow to read.
    """

    def __init__(
        self,
        *,
        path: Path,
        owner: int,
        tasks: Tasks,
        on_lost: Callable[[], None],
        on_greeted: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._owner = owner
        self._tasks = tasks
        self._on_lost = on_lost
        self._on_greeted = on_greeted
        self._handlers: Mapping[type, Handler] = {}
        self._listener: socket.socket | None = None
        self._channel: Channel | None = None
        self._greeted = False
        self._spooled: dict[str, int] = {}

    @property
    def connected(self) -> bool:
        return self._channel is not None

    def start(self, handlers: Mapping[type, Handler]) -> None:
        """Listen, on a socket that is the owner's alone from its first moment. The caller holds the home's lock."""
        self._handlers = handlers
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        if os.geteuid() == 0:
            os.chown(self._path, self._owner, -1, follow_symlinks=False)
        listener.listen(4)
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def notify(self, notice: Notice) -> None:
        """Tell the daemon, if one is there."""
        if self._channel is None or not self._greeted:
            return
        if notice == Notice(session=notice.session, spooled=notice.spooled):
            if not self._spooled:
                asyncio.get_running_loop().call_soon(self._flush)
            self._spooled[notice.session] = notice.spooled
        else:
            self._channel.send(msgspec.json.encode(notice))

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        if self._listener is None:
            return
        sock, _ = self._listener.accept()
        pid, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        # pid 0: the peer lives in a pid namespace that is not seen from here.
        if uid not in (self._owner, 0) or pid == 0:
            log.warning("refused a connection of uid %d, pid %d", uid, pid)
            sock.close()
            return
        if self._channel is not None:
            self._channel.close()
            self._lost()
        channel = Channel(
            sock=sock,
            loop=asyncio.get_running_loop(),
            on_message=lambda data, fds: self._received(channel, data, fds),
            on_closed=self._lost,
            on_drained=self._flush,
        )
        self._channel = channel

    def _lost(self) -> None:
        self._channel = None
        self._greeted = False
        self._spooled.clear()
        self._on_lost()

    def _flush(self) -> None:
        if self._channel is None or self._channel.busy:
            return
        spooled, self._spooled = self._spooled, {}
        for session, offset in spooled.items():
            self._channel.send(msgspec.json.encode(Notice(session=session, spooled=offset)))

    def _received(self, channel: Channel, data: bytes, fds: list[int]) -> None:
        try:
            verb = _decoder.decode(data)
        except msgspec.DecodeError as error:
            close_all(fds)
            failed = Failed.of(BadRequest(f"the launcher does not understand this verb: {error}"))
            channel.send(msgspec.json.encode(Reply(id=0, answer=failed)))
            return
        self._tasks.start(self._answer(channel, verb, fds), type(verb).__name__)

    async def _answer(self, channel: Channel, verb: Verb, fds: list[int]) -> None:
        """The guard around every verb: whatever breaks, the daemon gets one answer and no descriptor stays open."""
        try:
            self._check(channel, verb)
            answer, sent = await self._handlers[type(verb)](verb, fds)
            if isinstance(verb, Hello):
                self._greeted = True
                self._on_greeted()
            if not isinstance(verb, Consumed | Heartbeat):
                channel.send(msgspec.json.encode(Reply(id=verb.id, answer=answer)), sent)
        except EleAgentError as error:
            channel.send(msgspec.json.encode(Reply(id=verb.id, answer=Failed.of(error))))
        except Exception as error:
            log.exception("%s broke", type(verb).__name__)
            failed = Failed("internal", f"the launcher failed at {type(verb).__name__}: {error}")
            channel.send(msgspec.json.encode(Reply(id=verb.id, answer=failed)))
        finally:
            close_all(fds)

    def _check(self, channel: Channel, verb: Verb) -> None:
        if not isinstance(verb, Hello) and not (self._greeted and channel is self._channel):
            raise BadRequest("hello comes first")
        session = verb.spec.session if isinstance(verb, Create) else getattr(verb, "session", None)
        if session is not None and not re.fullmatch(KEY_PATTERN, session):
            raise BadRequest(f"{session!r} is no session key")
