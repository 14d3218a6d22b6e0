"""What is an operation of the daemon, and what does each need?

One without a permission and an audit name can't be built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eleagent.permissions import Permission


class Effect(StrEnum):
    """READ: changes nothing. CONTENT: reads what a session said or made. ACT: changes something. TAKE_AWAY: only takes
    away, so it works even when the audit log can't be written. RECORDED: its handler writes the record itself.
    """

    READ = "read"
    CONTENT = "content"
    ACT = "act"
    TAKE_AWAY = "take_away"
    RECORDED = "recorded"


class Body(StrEnum):
    """JSON: a decoded struct of at most 1 MiB. BYTES: a raw stream of at most `limit_bytes`."""

    NONE = "none"
    JSON = "json"
    BYTES = "bytes"


class Answer(StrEnum):
    """JSON: one struct. NDJSON: a stream, one struct a line. BYTES: a raw stream."""

    JSON = "json"
    NDJSON = "ndjson"
    BYTES = "bytes"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`path` has `{name}` parameters; `query` maps each query parameter to its type (int, str or bool). `recorded` are
    the query parameters and members of the body that the audit log takes: nothing secret, nothing that was said.
    """

    id: str
    method: str
    path: str
    permission: Permission
    audit: str
    effect: Effect
    summary: str
    body: type[Any] | None = None
    body_kind: Body = Body.NONE
    limit_bytes: int = 1 << 20
    result: type[Any] | None = None
    answer: Answer = Answer.JSON
    status: int = 200
    query: tuple[tuple[str, type[Any]], ...] = ()
    recorded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.permission, Permission):
            raise TypeError(f"operation {self.id!r} has no permission")
        if not re.fullmatch(r"[a-z_]+\.[a-z_]+", self.audit):
            raise ValueError(f"operation {self.id!r} has no audit name of the form noun.verb: {self.audit!r}")
        if (self.body is None) != (self.body_kind is not Body.JSON):
            raise ValueError(f"operation {self.id!r}: a JSON body needs a type, and only a JSON body has one")
        if self.result is None and self.answer is not Answer.BYTES:
            raise ValueError(f"operation {self.id!r} has no result type")
        members = self.body.__struct_fields__ if self.body else ()
        if strange := set(self.recorded) - {name for name, _ in self.query} - set(members):
            raise ValueError(f"operation {self.id!r} has nothing named {sorted(strange)} to record")

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(re.findall(r"{(\w+)}", self.path))

    def url(self, **parameters: str) -> str:
        """The path with each parameter percent-encoded. Raises KeyError when one is missing."""
        from urllib.parse import quote

        return re.sub(r"{(\w+)}", lambda match: quote(parameters[match[1]], safe=""), self.path)
