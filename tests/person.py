"""How does root run something as an ordinary user who has no account?

`python -m tests.person UID WORDS…`, or `command(uid, words)`. Interpreter and checkout may lie where he can't get to
(below /root): he has a mount namespace in which such folders hold nothing but them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from eleagent_daemon.kernel.calls import MS_BIND, MS_REC, mount, unshare_mounts

UID = 23017
CHECKOUT = Path(__file__).resolve().parents[1]
SHOWN = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))


def command(words: Sequence[str], uid: int = UID) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), str(uid), *words]


def barrier(path: Path) -> Path | None:
    """The highest folder above `path`, or itself, that others may not pass."""
    folders = [*reversed(path.parents), path]
    return next((folder for folder in folders if not folder.stat().st_mode & 0o001), None)


def show(paths: Iterable[Path]) -> None:
    """Let everybody get to `paths`, in a mount namespace of this process's own."""
    unshare_mounts()
    hidden = {path.resolve(): fence for path in paths if (fence := barrier(path.resolve()))}
    held = {path: os.open(path, os.O_PATH) for path in hidden}
    for fence in sorted(set(hidden.values())):
        mount("tmpfs", fence, "tmpfs", 0, "mode=0755")
    for path, fd in sorted(held.items()):
        path.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, "", MS_BIND | MS_REC)


def become(uid: int, words: Sequence[str]) -> NoReturn:
    show(SHOWN)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execvp(words[0], list(words))


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
