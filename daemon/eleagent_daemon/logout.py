"""Does what was started in the background outlive the logout of who started it?"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_SYSTEMD: Final = Path("/run/systemd/system")
_ASK: Final = (
    "busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
    "KillUserProcesses",
)  # fmt: skip
_ASK_S: Final = 2.0


def ends_at_logout() -> str | None:
    """What to say where systemd ends it, with its sessions, when its user's login session is over (KillUserProcesses,
    logind.conf(5)); None where it stays, or where nobody can say.
    """
    if not _SYSTEMD.is_dir() or not _in_login_session(Path("/proc/self/cgroup").read_text()):
        return None
    try:
        asked = subprocess.run(_ASK, capture_output=True, stdin=subprocess.DEVNULL, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.stdout.split() != [b"b", b"true"]:
        return None
    return (
        "systemd will end it, with its sessions, when you log out (KillUserProcesses is on). To keep it: "
        "loginctl enable-linger, then systemd-run --user --scope eleagent daemon run -d"
    )


def _in_login_session(cgroup: str) -> bool:
    """Whether it is a login's own scope (session-N.scope), not its user's manager's (systemd.special(7))."""
    return any("/session-" in line and line.rstrip().endswith(".scope") for line in cgroup.splitlines())
