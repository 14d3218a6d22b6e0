"""Is an installation's label made once, whole, and never made again behind its sandboxes' backs?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon import layout as layout_module
from eleagent_daemon.layout import Layout, check_local, check_socket_path, filesystem
from eleagent_daemon.store import durable


def prepare(layout: Layout) -> str:
    return layout.prepare(uid=os.getuid(), gid=os.getgid())


def test_layout_makes_the_label_once_for_all_to_read(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    label = prepare(layout)
    assert len(label) == 16
    assert prepare(layout) == layout.installation() == label
    assert layout.installation_file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["installation"]


def test_layout_label_is_there_once_its_bytes_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    synced: list[tuple[str, bool]] = []

    def sync(fd: int) -> None:
        synced.append((Path(f"/proc/self/fd/{fd}").readlink().name, layout.installation_file.exists()))

    monkeypatch.setattr(durable.os, "fsync", sync)
    prepare(layout)
    (file, before), folder = synced
    assert (file.startswith(".installation."), before) == (True, False)
    assert folder == (tmp_path.name, True)


@pytest.mark.parametrize("content", ["", "\n"])
def test_layout_refuses_an_empty_label(tmp_path: Path, content: str) -> None:
    (tmp_path / "installation").write_text(content)
    with pytest.raises(ConfigError, match="installation is empty: write into it"):
        prepare(Layout(tmp_path))
    assert (tmp_path / "installation").read_text() == content


def test_network_file_system_is_refused_with_the_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = filesystem(tmp_path)
    monkeypatch.setattr(layout_module, "_NETWORK_FILESYSTEMS", frozenset({kind}))
    with pytest.raises(ConfigError, match=rf"network file system \({kind}\): set home \(ELEAGENT_HOME\) to a"):
        prepare(Layout(tmp_path / "deep" / "down"))
    assert list(tmp_path.iterdir()) == [], "nothing is made there"


@pytest.mark.parametrize("folder", ["/run/user/1000/eleagent", "/run/user/1000"])
def test_folder_that_goes_at_logout_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match=r"is gone when you log out: set home \(ELEAGENT_HOME\)"):
        check_local(Path(folder), "home", "ELEAGENT_HOME")


def test_socket_s_path_may_be_as_long_as_the_kernel_takes_it_and_the_refusal_says_what_to_set() -> None:
    most = Path("/" + "x" * 106)
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(FileNotFoundError):
        one.connect(str(most))
    check_socket_path(most, "home")
    with pytest.raises(ConfigError) as refused:
        check_socket_path(Path(f"{most}x"), "home")
    assert "may have 107 bytes" in refused.value.message
    assert f"{most}x has 108" in refused.value.message
    assert "set home (ELEAGENT_HOME) to a shorter path, such as /var/tmp/eleagent-" in refused.value.message
