"""What is an operation of the daemon, and what does each need?

One without a permission and an audit name can't be built.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import msgspec

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
    """JSON: a decoded struct. BYTES: a raw stream. Of at most `limit_bytes`, either of them."""

    NONE = "none"
    JSON = "json"
    BYTES = "bytes"


class Answer(StrEnum):
    """JSON: one struct. NDJSON: a stream, one struct a line. BYTES: a raw stream."""

    JSON = "json"
    NDJSON = "ndjson"
    BYTES = "bytes"


class Kind(StrEnum):
    """Things that belong to somebody. A path's parameter of this name is one: the pipeline finds whose it is before the
    handler runs.
    """

    SESSION = "key"
    USER = "user"
    LOGIN = "login"
    API_KEY = "api_key"
    PROJECT = "project"
    APPROVAL = "approval"
    GRANT = "grant"

    @property
    def seen_with(self) -> Permission:
        """The permission without which such a thing is not there."""
        return _SEEN_WITH[self]


_SEEN_WITH: Final = {
    Kind.SESSION: Permission.SESSION_READ,
    Kind.USER: Permission.USER_READ,
    Kind.LOGIN: Permission.LOGIN_READ,
    Kind.API_KEY: Permission.KEY_READ,
    Kind.PROJECT: Permission.PROJECT_READ,
    Kind.APPROVAL: Permission.APPROVAL_READ,
    Kind.GRANT: Permission.APPROVAL_READ,
}

_CONTENT: Final = frozenset({Permission.SESSION_CONTENT, Permission.ARTEFACT_READ})

PLAIN: Final = frozenset({"id", "name", "seq"})
"""Path parameters that stand for nobody's own: a part of the object before them, or what everybody shares."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`path` has `{name}` parameters; `query` maps each query parameter to its type (int, str or bool). `recorded` are
    the query parameters and members of the body that the audit log takes: nothing secret, nothing that was said;
    `noted` is what the handler tells it of the outcome. `identifies` is the kind of thing that `{id}` is.

    `anyone`: it is how one becomes somebody, so it asks for no identity. `step_up`: a login must have given its
    password minutes ago. `here`: only who the kernel names, on the Unix socket, may.
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
    anyone: bool = False
    step_up: bool = False
    here: bool = False
    identifies: Kind | None = None
    noted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.permission, Permission):
            raise TypeError(f"operation {self.id!r} has no permission")
        noun, _, verb = self.audit.partition(".")
        if not all(word.isascii() and word.islower() and word.replace("_", "").isalpha() for word in (noun, verb)):
            raise ValueError(f"operation {self.id!r} has no audit name of the form noun.verb: {self.audit!r}")
        if (self.body is None) != (self.body_kind is not Body.JSON):
            raise ValueError(f"operation {self.id!r}: a JSON body needs a type, and only a JSON body has one")
        if self.result is None and self.answer is not Answer.BYTES:
            raise ValueError(f"operation {self.id!r} has no result type")
        members = self.body.__struct_fields__ if self.body else ()
        if strange := set(self.recorded) - {name for name, _ in self.query} - set(members):
            raise ValueError(f"operation {self.id!r} has nothing named {sorted(strange)} to record")
        if self.parameters[:1] == ("id",) and self.identifies is None:
            raise ValueError(f"operation {self.id!r}: nobody knows whose an {{id}} is that it does not identify")
        if strange := set(self.parameters) - set(Kind) - PLAIN:
            raise ValueError(f"operation {self.id!r}: nobody knows whose {sorted(strange)} is")

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def details(self) -> tuple[str, ...]:
        """All that a record of it in the audit log may say."""
        return (*self.recorded, *self.noted, *(["reason"] if self.discloses else []))

    @property
    def discloses(self) -> bool:
        """It reads what a session said or made: one who reads what is neither own nor shared must say why."""
        return self.target is Kind.SESSION and self.permission in _CONTENT

    @cached_property
    def queries(self) -> dict[str, type[Any]]:
        """All query parameters: `reason` belongs to what discloses."""
        return dict(self.query) | ({"reason": str} if self.discloses else {})

    @cached_property
    def target(self) -> Kind | None:
        """What kind of thing it is done to, where that belongs to somebody."""
        return self.identifies or next((Kind(name) for name in self.parameters if name in set(Kind)), None)

    @property
    def target_parameter(self) -> str:
        """The path's parameter that names it."""
        return "id" if self.identifies is not None else str(self.target or "")

    def url(self, **parameters: str) -> str:
        """The path with each parameter percent-encoded. Raises KeyError when one is missing."""
        from urllib.parse import quote

        return self.path.format_map({name: quote(value, safe="") for name, value in parameters.items()})
