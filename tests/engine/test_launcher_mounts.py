"""What does a mounted source show, and of which file system can none be shown?"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.errors import BadRequest
from eleagent_daemon.launcher.mounts import mount_source, mounts_below, unmount_all
from eleagent_daemon.launcher.places import Places

pytestmark = pytest.mark.engine


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path / "home" / "launcher")
    places.prepare()
    yield places
    unmount_all(places.root)


def shown(places: Places, source: Path) -> Path:
    target = places.root / "mnt" / "here"
    fd = os.open(source, os.O_RDONLY)
    try:
        identity = mount_source(fd, target, [], places.covers)
    finally:
        os.close(fd)
    assert identity == (target.stat().st_dev, target.stat().st_ino)
    return target


def test_mounted_folder_is_no_way_to_the_file_system_below_it(places: Places, tmp_path: Path) -> None:
    source = tmp_path / "a,b:c\\d"
    source.mkdir()
    (source / "file").write_text("content")
    target = shown(places, source)
    assert (target / "file").read_text() == "content"
    assert target.stat().st_dev != source.stat().st_dev
    assert os.statvfs(target).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV) == 7


def test_mounted_folder_shows_nothing_that_is_mounted_in_it(places: Places, tmp_path: Path) -> None:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "other", tmp_path / "source" / "sub"], check=True)
    try:
        (tmp_path / "source" / "sub" / "secret").touch()
        assert list((shown(places, tmp_path / "source") / "sub").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path / "source" / "sub"], check=True)


def test_mounted_file_is_the_one_that_was_opened(places: Places, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    target = shown(places, tmp_path / "file")
    assert os.path.samestat(target.stat(), (tmp_path / "file").stat())
    with pytest.raises(OSError, match="Read-only"):
        target.open("w")


def test_folder_of_which_no_overlay_can_be_made_is_refused_by_name(places: Places, tmp_path: Path) -> None:
    """Overlays may be stacked on one another twice (FILESYSTEM_MAX_STACK_DEPTH)."""
    layers = [tmp_path / name for name in ("lower", "one", "two", "empty")]
    for layer in layers:
        layer.mkdir()
    lower, one, two, empty = layers
    try:
        for below, target in ((lower, one), (one, two)):
            options = f"lowerdir={below}:{empty}"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, target], check=True)
        with pytest.raises(BadRequest, match=f"^{two} is on overlay, of which no overlay can be made"):
            shown(places, two)
        assert mounts_below(places.root / "mnt") == [places.root / "mnt"]
    finally:
        subprocess.run(["umount", two, one], check=True)
