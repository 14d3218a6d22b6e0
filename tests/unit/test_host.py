from __future__ import annotations

import pwd

from eleagent_daemon.launcher.host import pool_accounts


def _account(name: str, uid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, 100, "", "/", "/bin/sh"))


def test_host_account_with_the_uid_of_a_sandbox_is_named() -> None:
    accounts = [
        _account(name, uid) for name, uid in (("root", 0), ("a", 10000), ("b", 10001), ("c", 14096), ("d", 14097))
    ]
    assert pool_accounts(accounts) == ["b (uid 10001)", "c (uid 14096)"]
