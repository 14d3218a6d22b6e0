"""How is a sandbox's output, and what is seen of it, kept between launcher and daemon?

A spool is a folder of segments, each named by the spool offset of its first frame (`00000000000000000000.spool`). A
frame is a header of 32 bytes and its payload; offsets count every byte of every frame since the sandbox began, so a
segment that was consumed can be deleted. The launcher alone writes, the daemon reads on from any frame's offset.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

MAGIC: Final = b"ELE1"
HEADER: Final = struct.Struct(">4sBxxxIIQQ")
PAYLOAD_LIMIT: Final = 1 << 20
SEGMENT_BYTES: Final = 4 << 20
SUFFIX: Final = ".spool"


class Stream(IntEnum):
    """GAP: output is missing here; the payload says why, as UTF-8 text, and `at` how many bytes (0: nobody knows).
    SEEN: what the launcher saw of the sandbox, in the form of `domain.observed`; each frame is whole by itself.
    """

    GAP = 0
    OUT = 1
    ERR = 2
    SEEN = 3


@dataclass(frozen=True)
class Frame:
    """`offset` is where the frame begins in the spool, `at` the number of bytes of its stream before it."""

    stream: Stream
    offset: int
    at: int
    payload: bytes

    @property
    def end(self) -> int:
        return self.offset + HEADER.size + len(self.payload)


class TornFrame(ValueError):
    """Bytes that are no frame: the file was damaged, since a frame that is only half written is None, not this."""


def encode(frame: Frame) -> bytes:
    head = HEADER.pack(MAGIC, frame.stream, len(frame.payload), 0, frame.offset, frame.at)
    crc = zlib.crc32(frame.payload, zlib.crc32(head))
    return HEADER.pack(MAGIC, frame.stream, len(frame.payload), crc, frame.offset, frame.at) + frame.payload


def decode(data: bytes | memoryview) -> Frame | None:
    """The frame that `data` begins with, None while it is not whole. Raises TornFrame when it can't become one."""
    if len(data) < HEADER.size:
        return None
    magic, stream, length, crc, offset, at = HEADER.unpack_from(data)
    if magic != MAGIC or length > PAYLOAD_LIMIT or stream not in Stream._value2member_map_:
        raise TornFrame(f"no frame at spool offset {offset}")
    end = HEADER.size + length
    if len(data) < end:
        return None
    payload = bytes(data[HEADER.size : end])
    if crc != zlib.crc32(payload, zlib.crc32(HEADER.pack(magic, stream, length, 0, offset, at))):
        raise TornFrame(f"checksum of the frame at spool offset {offset} is wrong")
    return Frame(stream=Stream(stream), offset=offset, at=at, payload=payload)


def spool_folder(home: Path, session: str) -> Path:
    """Where a session's spool lies below the state folder."""
    return home / "launcher" / session / "spool"


def segment_name(offset: int) -> str:
    return f"{offset:020d}{SUFFIX}"
