"""As whom does eleagentd run?"""

from __future__ import annotations

import os
import pwd

from eleagent.errors import ConfigError
from eleagent_daemon.domain.sandbox import DAEMON_UID


def daemon_account(user: str) -> tuple[int, int]:
    """uid and gid of eleagentd: ourselves, or as root the account `user`, or where there is none uid 10000.

    Raises ConfigError for root's own account.
    """
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user != "eleagent":
            raise ConfigError(f"user: there is no account {user!r}: useradd --system --no-create-home {user}") from None
        return DAEMON_UID, DAEMON_UID
    if entry.pw_uid == 0:
        raise ConfigError("user: eleagentd does not run as root; name another account")
    return entry.pw_uid, entry.pw_gid
