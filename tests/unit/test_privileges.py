"""Is root given up for good, and does the daemon still work then?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.account import daemon_account
from eleagent_daemon.domain.sandbox import DAEMON_UID
from eleagent_daemon.layout import Layout, filesystem

as_root = pytest.mark.skipif(os.getuid() != 0, reason="gives up root")

DROP = """
import json, os, sys
from eleagent_daemon.privileges import drop_to
os.setgroups([4, 27])
os.umask(0)
drop_to(10000, 10001)
refused = []
for name, call in {
    "setuid": lambda: os.setuid(0), "setresuid": lambda: os.setresuid(0, 0, 0), "setgid": lambda: os.setgid(0),
    "setgroups": lambda: os.setgroups([0]), "chown": lambda: os.chown(sys.argv[1], 0, 0),
    "read": lambda: open("/etc/shadow").read(), "chroot": lambda: os.chroot("/"),
}.items():
    try:
        call()
    except PermissionError:
        refused.append(name)
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
import concurrent.futures.thread, sqlite3, eleagent_daemon.gateway.service
print(json.dumps({"refused": refused, "status": status, "umask": os.umask(0), "modules": sorted(sys.modules)}))
"""


@as_root
def test_drop_to_leaves_no_way_back(tmp_path: Path) -> None:
    kept = tmp_path / "roots"
    kept.touch(0o600)
    done = subprocess.run([sys.executable, "-c", DROP, str(kept)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    status = {name: value.split() for name, value in found["status"].items()}
    assert found["refused"] == ["setuid", "setresuid", "setgid", "setgroups", "chown", "read", "chroot"]
    assert (status["Uid"], status["Gid"]) == (["10000"] * 4, ["10001"] * 4)
    assert status.get("Groups", []) == []
    assert status["NoNewPrivs"] == ["1"]
    for capabilities in ("CapPrm", "CapEff", "CapAmb"):
        assert int(status[capabilities][0], 16) == 0, capabilities
    assert found["umask"] == 0o077
    assert "eleagent_daemon.gateway.tunnel" in found["modules"], "what is needed later is loaded before"
    assert not [name for name in found["modules"] if name.startswith("eleagent_daemon.launcher.")]


@as_root
def test_daemon_account_is_never_root() -> None:
    with pytest.raises(ConfigError, match="does not run as root"):
        daemon_account("root")
    with pytest.raises(ConfigError, match="useradd"):
        daemon_account("no-such-account")
    uid, gid = daemon_account("eleagent")
    assert uid != 0
    assert gid != 0
    assert daemon_account("nobody")[0] == 65534
    assert DAEMON_UID not in range(10001, 10001 + 4096)


# The state folder


def test_layout_prepares_folders_of_the_daemon_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    tmp_path.chmod(0o755)
    first = layout.prepare(uid=os.getuid(), gid=os.getgid())
    assert (len(first), layout.prepare(uid=os.getuid(), gid=os.getgid()), layout.installation()) == (16, first, first)
    for folder in (layout.sessions, layout.timelines, layout.ledger, layout.agents, layout.registry.parent):
        assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
    assert layout.home.stat().st_mode & 0o777 == layout.launcher.stat().st_mode & 0o777 == 0o711


@as_root
def test_layout_that_the_daemon_cannot_enter_is_refused_by_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match=rf"can't enter {tmp_path}: .*chmod o\+x"):
        Layout(tmp_path / "home").prepare(uid=4000, gid=4000)


def test_layout_without_a_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory"):
        Layout(tmp_path / "file" / "home").prepare(uid=os.getuid(), gid=os.getgid())
    with pytest.raises(ConfigError, match="eleagent daemon run"):
        Layout(tmp_path / "none").installation()


def test_filesystem_is_named() -> None:
    assert filesystem(Path("/proc")) == "proc"
    assert filesystem(Path("/sys")) == "sysfs"
