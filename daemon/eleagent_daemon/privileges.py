"""How does eleagentd, started by root, become nobody in particular?"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import eleagent
import eleagent_daemon
from eleagent.errors import ConfigError
from eleagent_daemon.agents.files import get_dockerfile, get_lock
from eleagent_daemon.sessions.catalogue import PROFILES
from eleagent_daemon.store.database import migrations

_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
_LAZY: Final = (
    "encodings.idna",
    "encodings.utf_8_sig",
    "concurrent.futures.thread",
    "sqlite3",
    "stringprep",
    "traceback",
)
_LATE: Final = ("argon2", "jwt", "cryptography.hazmat.primitives.asymmetric.ed25519", "zxcvbn")
"""What the first login or token loads, 20 MiB: before root is given up only where it could not be had afterwards."""

_NOT_OURS: Final = ("eleagent_daemon.launcher", "eleagent_daemon.runtime", "eleagent_daemon.kernel", "eleagent.cli")


def drop_to(uid: int, gid: int) -> None:
    """Give up root for good. Whatever is still to be imported or read from the package is loaded first: the interpreter
    and the package may lie in a folder that the new user can't enter (a checkout below /root).

    Raises ConfigError when root could be had back.
    """
    _preload()
    if not _can_enter(Path(sys.prefix), uid, gid):
        for name in _LATE:
            importlib.import_module(name)
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise ConfigError("the kernel refuses no_new_privs")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise ConfigError(f"root could be had back after becoming uid {uid}")


def _import_below(package: ModuleType) -> None:
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not found.name.startswith(_NOT_OURS):
            module = importlib.import_module(found.name)
            if found.ispkg:
                _import_below(module)


def _can_enter(folder: Path, uid: int, gid: int) -> bool:
    """Whether the account can get to what lies in `folder`."""
    for one in (folder, *folder.parents):
        status = one.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o010 if status.st_gid == gid else 0o001):
            return False
    return True


def _preload() -> None:
    for name in _LAZY:
        importlib.import_module(name)
    for package in (eleagent, eleagent_daemon):
        _import_below(package)
    for schema in ("registry", "auth"):
        migrations(schema)
    for profile in PROFILES.values():
        get_dockerfile(profile.name)
        if profile.binary:
            get_lock(profile.name)
