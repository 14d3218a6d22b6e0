"""Is every setting one that there is, with a value of its kind? Says which is not, in words a person uses."""

from __future__ import annotations

from enum import EnumType
from typing import Any, Literal, get_args, get_origin

import msgspec

from eleagent.errors import ConfigError

_PLACEHOLDERS = ("changeme", "change-me", "change_me", "placeholder", "example", "your", "xxxx", "todo", "secret",
                 "password", "insert", "dummy")  # fmt: skip
_SECRET_CHARACTERS = 16


def check_secret(secret: str, where: str) -> None:
    """Raises ConfigError for a text that stands where a secret belongs, without telling it."""
    plain = secret.lower()
    if any(word in plain for word in _PLACEHOLDERS) and len(set(plain)) < 24:
        raise ConfigError(f"{where}: this is a placeholder: put the real secret there")
    if len(secret) < _SECRET_CHARACTERS or len(set(secret)) < _SECRET_CHARACTERS // 2:
        raise ConfigError(f"{where}: this is too short or too uniform to be a secret: put the real one there")


def check(table: Any, struct: type[msgspec.Struct], where: str, prefix: str = "") -> None:
    """Raises ConfigError, beginning with `where`, for the first setting that `struct` does not have or take."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {prefix[:-1]}: must be a table, is {table!r}")
    kinds = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for name, value in table.items():
        kind, setting = kinds.get(name), prefix + name
        if kind is None:
            known = ", ".join(prefix + one for one in kinds)
            raise ConfigError(f"{where}: there is no setting {setting}; there are: {known}")
        if _is_struct(kind):
            check(value, kind, where, f"{setting}.")
        elif get_origin(kind) is dict and isinstance(value, dict):
            for key, one in value.items():
                check(one, get_args(kind)[1], where, f"{setting}.{key}.")
        else:
            convert(value, kind, f"{where}: {setting}")


def convert(value: Any, kind: Any, where: str, *, strict: bool = True) -> Any:
    """`value` as a `kind`; a text is taken for a number where not `strict`. Raises ConfigError."""
    if not strict and kind == list[str] and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        raise ConfigError(f"{where}: must be {_wanted(kind)}, is {value!r}") from None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _wanted(kind: Any) -> str:
    if isinstance(kind, EnumType):
        return f"one of {', '.join(map(str, kind))}"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list[str]: "a list of texts"}
    return words.get(kind, "a table")
