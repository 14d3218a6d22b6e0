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


def launcher_facts() -> list[HostFact]:
    """Lines for doctor; every one that is not ok says what to do."""
    privileged = os.geteuid() == 0
    loop = Path("/dev/loop-control").exists() and shutil.which("mke2fs") is not None
    return [
        HostFact("launcher", "ok", "runs as root")
        if privileged
        else HostFact("launcher", "fail", f"runs as uid {os.geteuid()}", "start `eleagent daemon run` with sudo"),
        HostFact("session disks", "ok", "loop devices and mke2fs")
        if loop
        else HostFact(
            "session disks", "fail", "no loop devices or no mke2fs", "modprobe loop; apt-get install e2fsprogs"
        ),
        HostFact("openat2", "ok", "paths are opened beneath their folder")
        if _has_openat2()
        else HostFact("openat2", "fail", f"not in kernel {os.uname().release}", "Linux 5.8 or newer is needed"),
        HostFact("sandbox users", "fail", f"{', '.join(accounts)}: a sandbox's uid", "usermod -u them another uid")
        if (accounts := pool_accounts(pwd.getpwall()))
        else HostFact("sandbox users", "ok", "their uids are no account's"),
    ]


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
