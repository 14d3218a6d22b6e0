"""How does input get into a sandbox's stdin whole, in order and at most once, whatever dies above?"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from eleagent.errors import Conflict, TooLarge
from eleagent_daemon.launcher.record import Record
from eleagent_daemon.runtime.seam import InputChannel

MESSAGE_BYTES: Final = 8 << 20
QUEUED_BYTES: Final = 32 << 20
WRITTEN_KEPT: Final = 256


class Input:
    """Messages arrive in pieces and are written by `run` when their last piece is there and the gate is open.

    A message that a crash tore is ended with a newline before the next one, so that the two are not read as one line.
    """

    def __init__(self, *, record: Record, save: Callable[[], None]) -> None:
        self._record = record
        self._save = save
        self._pieces: dict[str, bytearray] = {}
        self._queue: deque[tuple[str, bytes]] = deque()
        self._channel: InputChannel | None = None
        self._changed = asyncio.Event()
        self._attached = asyncio.Event()

    async def channel(self, timeout_s: float) -> InputChannel:
        """The pipe, once it is attached. Raises Conflict when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._channel is None:
                    self._attached.clear()
                    await self._attached.wait()
        except TimeoutError:
            raise Conflict(f"the input of {self._record.spec.session} is not attached: try again") from None
        return self._channel

    def use(self, channel: InputChannel) -> None:
        """From here on messages go into `channel`."""
        self._channel = channel
        self._attached.set()
        self._changed.set()

    def piece(self, message: str, data: bytes, *, last: bool) -> None:
        """Raises TooLarge. A message that was already committed is taken for a repetition."""
        if message in self._known():
            return
        pieces = self._pieces.setdefault(message, bytearray())
        pieces += data
        if len(pieces) > MESSAGE_BYTES or self._waiting_bytes() > QUEUED_BYTES:
            del self._pieces[message]
            raise TooLarge(f"input {message} is too large ({MESSAGE_BYTES} bytes a message, {QUEUED_BYTES} waiting)")
        if last:
            self._queue.append((message, bytes(self._pieces.pop(message))))
            self._changed.set()

    async def close(self) -> None:
        """Let go of the pipe, and with it of the output that comes over the same connection."""
        if self._channel is not None:
            await self._channel.close()

    def forget_pieces(self) -> None:
        """The daemon is gone: what it had not committed is dropped."""
        self._pieces.clear()

    def wake(self) -> None:
        """The gate was opened."""
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not (self._queue and self._channel and self._record.opened):
                self._changed.clear()
                await self._changed.wait()
                continue
            channel, (message, data) = self._channel, self._queue[0]
            torn = b"\n" if self._record.writing else b""
            self._record.writing = message
            self._save()
            try:
                await channel.write(torn + data)
            except ConnectionError:
                # Nobody knows how much of it went in: it stays unwritten and is not tried again.
                self._queue.popleft()
                if self._channel is channel:
                    self._channel = None
                continue
            self._queue.popleft()
            self._record.writing = ""
            self._record.written = [*self._record.written, message][-WRITTEN_KEPT:]
            self._save()

    def _known(self) -> set[str]:
        return {message for message, _ in self._queue} | {*self._record.written, self._record.writing}

    def _waiting_bytes(self) -> int:
        return sum(len(data) for _, data in self._queue) + sum(map(len, self._pieces.values()))
