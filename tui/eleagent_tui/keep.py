"""What does the TUI remember from one time to the next? Where one was, and what one chose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Kept(msgspec.Struct, kw_only=True):
    """`place` and `session`: where one was. `bell`, `notify` and `title`: how one is called when an agent asks."""

    place: str = "sessions"
    session: str = ""
    theme: str = ""
    bell: bool = True
    notify: bool = True
    title: bool = True
    mouse: bool = False
    times: bool = False


def kept_file(environ: Mapping[str, str] = os.environ) -> Path:
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local/state")
    return Path(state) / "eleagent-tui" / "kept.json"


def load(path: Path) -> Kept:
    """What was kept; the defaults where nothing was, or what can't be read: it is only a convenience."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def save(path: Path, kept: Kept) -> None:
    """Whole or not at all; a disk that does not take it is nothing to stop for."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_bytes(msgspec.json.encode(kept))
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
