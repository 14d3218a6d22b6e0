"""What can the launcher itself do on this host?"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable
from pathlib import Path

from eleagent_daemon.domain.launch import HostFact
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID, POOL_SIZE
from eleagent_daemon.kernel.calls import open_inside


def launcher_facts(*, needs_root: bool) -> list[HostFact]:
    """Lines for doctor; every one that is not ok says what to do. `needs_root`: the runtime does."""
    facts = [_launcher(needs_root), _openat2()]
    return [*facts, _disks(), _users()] if os.geteuid() == 0 else facts


def _launcher(needs_root: bool) -> HostFact:
    if os.geteuid() == 0:
        return HostFact("launcher", "ok", "runs as root")
    found = f"runs as uid {os.geteuid()}"
    fix = "start `eleagent daemon run` with sudo, or with --runtime bubblewrap"
    return HostFact("launcher", "fail", found, fix) if needs_root else HostFact("launcher", "ok", found)


def _openat2() -> HostFact:
    if _has_openat2():
        return HostFact("openat2", "ok", "paths are opened beneath their folder")
    return HostFact("openat2", "fail", f"not in kernel {os.uname().release}", "Linux 5.8 or newer is needed")


def _disks() -> HostFact:
    if Path("/dev/loop-control").exists() and shutil.which("mke2fs") is not None:
        return HostFact("session disks", "ok", "loop devices and mke2fs")
    fix = "modprobe loop; apt-get install e2fsprogs"
    return HostFact("session disks", "fail", "no loop devices or no mke2fs", fix)


def _users() -> HostFact:
    if accounts := pool_accounts(pwd.getpwall()):
        fix = "usermod -u them another uid"
        return HostFact("sandbox users", "fail", f"{', '.join(accounts)}: a sandbox's uid", fix)
    return HostFact("sandbox users", "ok", "their uids are no account's")


def pool_accounts(entries: Iterable[pwd.struct_passwd]) -> list[str]:
    """Accounts with a uid of the sandboxes': they could read one through /proc and write its workspace."""
    pool = range(POOL_FIRST_UID, POOL_FIRST_UID + POOL_SIZE)
    return [f"{entry.pw_name} (uid {entry.pw_uid})" for entry in entries if entry.pw_uid in pool]


def _has_openat2() -> bool:
    root = os.open("/", os.O_PATH)
    try:
        os.close(open_inside(root, ".", os.O_PATH))
    except OSError:
        return False
    finally:
        os.close(root)
    return True
