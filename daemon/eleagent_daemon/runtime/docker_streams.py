"""How do bytes get into and out of a container? The engine's attach and log streams, byte for byte.

Format (Engine API, "Attach to a container", stream format): frames of an 8-byte header, whose first byte is 1 for
stdout and 2 for stderr and whose last four are the big-endian length, and that many bytes. Nothing is read ahead of the
consumer but 128 KiB of a stream reader, so one that stops reading stops the sandbox's writes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from eleagent_daemon.runtime.seam import Chunk, Stream

PIECE_BYTES = 64 * 1024
_HEADER = struct.Struct(">BxxxL")
_STREAMS: dict[int, Stream] = {1: "out", 2: "err"}
_HEAD_LIMIT_BYTES = 16 * 1024
_FRAME_LIMIT_BYTES = 4 << 20
"""Engines send 32 KiB at most, and log records of 1 MB."""


class Reader(Protocol):
    """asyncio's StreamReader or aiohttp's."""

    async def read(self, n: int = -1, /) -> bytes: ...


class Frames:
    """The frames of a stream, whole."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._buffer = bytearray()

    async def next(self) -> Chunk | None:
        """None at the end. May be cancelled and asked again: nothing is lost.

        Raises EOFError when the stream breaks off within a frame, ValueError for what is no frame.
        """
        while (frame := self._cut()) is None:
            data = await self._reader.read(PIECE_BYTES)
            if not data:
                if self._buffer:
                    raise EOFError("the stream ends within a frame")
                return None
            self._buffer += data
        return frame

    def _cut(self) -> Chunk | None:
        if len(self._buffer) < _HEADER.size:
            return None
        kind, size = _HEADER.unpack_from(self._buffer)
        if kind not in _STREAMS or size > _FRAME_LIMIT_BYTES:
            raise ValueError(f"a frame of stream {kind} with {size} bytes; a terminal's output has no frames")
        end = _HEADER.size + size
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Chunk(_STREAMS[kind], data)


class Hijacked:
    """A connection that was HTTP and carries a container's streams now."""

    def __init__(self, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        # drain() then returns when nothing is left in this process, not below some mark.
        writer.transport.set_write_buffer_limits(high=0)

    @property
    def over(self) -> bool:
        return self._writer.is_closing() or self.reader.at_eof()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class Input:
    """The channel to a sandbox's stdin. `ready` is asked before each write, given the connection there is, for the one
        to write to: it may raise ConnectionError, or open it only now (an engine refuses to attach to a paused
    container)."""

    def __init__(
        self,
        *,
        connection: Hijacked | None = None,
        ready: Callable[[Hijacked | None], Awaitable[Hijacked]] | None = None,
    ) -> None:
        self._connection = connection
        self._ready = ready
        self._closed = False

    async def write(self, data: bytes) -> None:
        if self._ready is not None and not self._closed:
            self._connection = await self._ready(self._connection)
        if self._closed or self._connection is None or self._connection.over:
            raise ConnectionResetError("the sandbox's input is closed: it ended or was let go of")
        await self._connection.write(data)

    async def close(self) -> None:
        """Lets go; the sandbox's own stdin stays open (StdinOnce is false). Output attached with it ends too."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()


async def open_hijacked(socket: str, target: str) -> tuple[int, bytes, Hijacked | None]:
    """POST `target` with an upgrade: status, body, and the connection when the engine agreed (101; Podman may say 200).

    By hand, because aiodocker's stream loses the socket's end and calls a write done with 64 KiB of it still buffered.
    """
    reader, writer = await asyncio.open_unix_connection(socket, limit=PIECE_BYTES)
    try:
        writer.write(f"POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(None, 2)[1])
        if status in (101, 200):
            return status, b"", Hijacked(reader=reader, writer=writer)
        body = await _body(reader, head)
    except asyncio.LimitOverrunError as err:
        writer.close()
        raise ValueError("the answer's head does not end") from err
    except BaseException:
        writer.close()
        raise
    writer.close()
    return status, body, None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return await reader.readexactly(min(int(value), _HEAD_LIMIT_BYTES))
    return b""
