"""By which names does a person call daemons, and which one is in use?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from eleagent.client.locate import contexts_file
from eleagent.errors import ConfigError, NotFound

HERE: Final = "local"
"""The context that is no other: the daemon of this account on this machine."""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`host` as for --host, `cacert` as for --cacert."""

    host: str
    cacert: str | None = None


class Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in contexts.json; `current` is None while nobody chose another than `local`."""

    current: str | None = None
    contexts: dict[str, Context] = {}

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Empty where there is no file. Raises ConfigError for one that can't be read."""
        return load_json(contexts_file(environ), cls) or cls()

    def save(self, environ: Mapping[str, str] = os.environ) -> None:
        save_json(contexts_file(environ), self)

    def find(self, name: str | None = None) -> Context | None:
        """The context of that name, or the one in use; None for `local`. Raises NotFound where there is none of it."""
        name = name or self.current
        if name is None or name == HERE:
            return None
        if name not in self.contexts:
            known = ", ".join((HERE, *self.contexts))
            raise NotFound(f"there is no context {name!r}; there are: {known} (eleagent context add NAME URL)")
        return self.contexts[name]


def load_json(path: str, kind: type[Any]) -> Any:
    """A `kind`, or None where there is no file. Raises ConfigError for one that can't be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # every command comes by here
            return msgspec.json.decode(file.read(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} can't be read ({error}): mend it, or delete it and begin anew") from None


def save_json(place: str, value: msgspec.Struct) -> None:
    """Whole or not at all, readable by nobody else. Raises ConfigError."""
    path = Path(place)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent, delete=False) as file:  # mode 0600
            try:
                file.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
                file.flush()
                Path(file.name).rename(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}: set XDG_CONFIG_HOME to a folder of yours"
        ) from None
