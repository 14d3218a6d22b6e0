"""Which runtime makes the sandboxes, where the setting leaves it to us? Decided once and written down.

An engine that is down later is an error: sandboxes of another kind behind people's backs would not be what they know.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Final

import msgspec

from eleagent.errors import ConfigError
from eleagent_daemon.layout import write_once

AUTO: Final = "auto"
_PING_S: Final = 5.0


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`why` is what spoke for it and when, a line for people; empty where the setting names the runtime."""

    runtime: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.runtime} ({self.why})" if self.why else self.runtime


def decide(setting: str, file: Path, *, uid: int, engine: str, now: str) -> Choice:
    """What holds, decided and written to `file` where nobody has yet. Raises ConfigError where there is no runtime."""
    if setting != AUTO or file.exists():
        return chosen(setting, file)
    choice = _decide(uid, engine)
    choice = msgspec.structs.replace(choice, why=f"decided once, on {now[:10]}: {choice.why}")
    write_once(file, msgspec.json.encode(choice).decode() + "\n")
    return chosen(setting, file)


def chosen(setting: str, file: Path) -> Choice:
    """What was decided. Raises ConfigError where nothing was, or where it can't be read."""
    if setting != AUTO:
        return Choice(setting)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Choice)
    except FileNotFoundError:
        raise ConfigError("runtime: it was not decided yet: eleagent daemon run does it") from None
    except (OSError, msgspec.DecodeError) as err:
        raise ConfigError(
            f"runtime: {file} can't be read ({err}): set runtime, or delete it to have it decided anew"
        ) from None


def _decide(uid: int, engine: str) -> Choice:
    """An engine may be used by root alone: the launcher mounts what an engine's sandboxes see."""
    if uid == 0 and _answers(engine):
        return Choice("docker", f"a container engine answered at {engine}")
    lack = (
        f"no container engine answered at {engine}" if uid == 0 else "a container engine needs a launcher that is root"
    )
    if shutil.which("bwrap"):
        return Choice("bubblewrap", lack)
    raise ConfigError(f"runtime: there is none: {lack}, and bubblewrap is not installed: apt-get install bubblewrap")


def _answers(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(_PING_S)
            engine.connect(path.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 OK" in engine.recv(64)
    except OSError:
        return False
