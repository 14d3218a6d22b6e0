"""How do observations travel from the launcher to the daemon? A frame of them is JSON: their types and fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eleagent.wire.observations import OBSERVATIONS
from eleagent.wire.payload import Payload


class _Item(msgspec.Struct):
    type: str
    data: msgspec.Raw


_items = msgspec.json.Decoder(list[_Item])
_encode = msgspec.json.encode


def rfc3339(seconds: float) -> str:
    """In UTC, milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pack(observations: Sequence[Payload]) -> bytes:
    return _encode([_Item(one.type, msgspec.Raw(_encode(one))) for one in observations])


def unpack(data: bytes) -> Sequence[Payload]:
    """Raises ValueError for what no launcher of this version packed."""
    try:
        return [msgspec.json.decode(item.data, type=OBSERVATIONS[item.type]) for item in _items.decode(data)]
    except KeyError as error:
        raise ValueError(f"{error} is no observation") from None
