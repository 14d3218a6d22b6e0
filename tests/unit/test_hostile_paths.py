"""What do names and links that others chose do to the folders and mounts that root looks after?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.daemonctl import _prepare_socket_folder
from eleagent_daemon.kernel import mountinfo
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.layout import Layout


@pytest.mark.parametrize("name", [b"\x0c", b"\r", "\x85".encode(), "\u2028".encode(), b"\xff"])
def test_mountinfo_takes_any_name_but_the_kernels_own_line_end(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "mountinfo").write_bytes(
        b"36 35 98:0 /a" + name + b"b /data ro - ext4 /dev/a rw\n37 35 0:1 / /x rw - tmpfs t rw\n"
    )
    first, second = mountinfo.read(tmp_path)
    assert (os.fsencode(first.root), first.target, second.target) == (b"/a" + name + b"b", "/data", "/x")


def test_layout_gives_away_nothing_behind_a_link(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.prepare(uid=os.getuid(), gid=os.getgid())
    layout.timelines.rmdir()
    layout.timelines.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="logs"):
        layout.prepare(uid=os.getuid(), gid=os.getgid())


@pytest.mark.engine
def test_socket_folder_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    _prepare_socket_folder(tmp_path, 10000, 10000, shared_with=None)
    _prepare_socket_folder(tmp_path / "run", 10000, 10000, shared_with=None)
    assert (tmp_path.stat().st_uid, (tmp_path / "run").stat().st_uid) == (os.getuid(), 10000)


def test_disks_and_mounts_are_closed_to_others(tmp_path: Path) -> None:
    places = Places(tmp_path / "launcher")
    places.prepare()
    try:
        modes = {name: (places.root / name).stat().st_mode & 0o777 for name in (".", "disks", "mnt")}
    finally:
        places.close()
    assert modes == {".": 0o711, "disks": 0o700, "mnt": 0o700}
