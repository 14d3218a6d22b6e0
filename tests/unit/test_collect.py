from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent_daemon.domain.launch import Collected
from eleagent_daemon.launcher.collect import DEPTH_LIMIT, Collection
from eleagent_daemon.launcher.removal import remove_tree

pytestmark = pytest.mark.timeout(60)
"""Trees are as deep as a hostile one: on a busy disk that takes its time."""

DEEP = 3000


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "artefacts"
    folder.mkdir()
    yield folder
    parent = os.open(tmp_path, os.O_RDONLY)
    remove_tree(parent, "artefacts")  # pytest's own removal recurses
    os.close(parent)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


def collect(source: Path, target: Path, *, limit_bytes: int = 4 << 30, limit_files: int = 1000) -> Collection:
    fd = os.open(target, os.O_RDONLY)
    collection = Collection(
        source=source, target_fd=fd, owner=os.getuid(), limit_bytes=limit_bytes, limit_files=limit_files
    )
    try:
        told = collection.run()
    finally:
        os.close(fd)
    assert isinstance(told, Collected)
    return collection


def deepen(folder: Path, depth: int) -> None:
    """`depth` folders below one another, each with a file; deeper than any path may be long."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir("deeper", dir_fd=fd)
        below = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_collection_ends_at_a_depth_and_says_so(source: Path, target: Path) -> None:
    deepen(source, DEEP)
    began = time.monotonic()
    collection = collect(source, target)
    assert time.monotonic() - began < 2.0
    assert len(collection.stored) == DEPTH_LIMIT + 1
    (skipped,) = collection.skipped
    assert skipped.endswith(f"deeper: more than {DEPTH_LIMIT} folders deep")


def test_collection_keeps_holes_and_digests_them(source: Path, target: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.truncate(256 << 20)
        file.seek(100 << 20)
        file.write(b"data")
    (stored,) = collect(source, target).stored
    kept = target / "files" / "sparse"
    assert (stored.size_bytes, kept.stat().st_size) == (256 << 20, 256 << 20)
    assert kept.stat().st_blocks * 512 < 1 << 20
    with kept.open("rb") as file:
        assert stored.sha256 == hashlib.file_digest(file, "sha256").hexdigest()
    assert stored.sha256 == hashlib.sha256((source / "sparse").read_bytes()).hexdigest()


def test_collection_says_what_it_skipped(source: Path, target: Path) -> None:
    (source / "kept").write_text("kept")
    (source / "link").symlink_to("kept")
    (source / "large").write_bytes(bytes(9))
    os.link(source / "kept", source / "twice")
    collection = collect(source, target, limit_bytes=8)
    assert [each.path for each in collection.stored] == ["kept", "twice"]
    assert collection.skipped == ["large: over the limit of 8 bytes", "link: a symbolic link"]


def test_collection_removes_what_an_earlier_one_left_half_done(source: Path, target: Path) -> None:
    (source / "new").write_text("new")
    for stale in ("partial-0123abcd", "partial-0123abcd.old"):
        (target / stale).mkdir()
        deepen(target / stale, 1500)
    (target / "partial-0123abcd.json").touch()
    collect(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["files", "manifest.json"]


def test_collection_replaces_the_one_before(source: Path, target: Path) -> None:
    (source / "a").mkdir()
    (source / "a" / "old").write_text("old")
    collect(source, target)
    (source / "a" / "old").rename(source / "a" / "new")
    collect(source, target)
    assert [str(path.relative_to(target)) for path in target.rglob("*")] == [
        "files", "manifest.json", "files/a", "files/a/new"
    ]  # fmt: skip


def test_removal_follows_no_link_and_needs_no_recursion(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    deepen(tree, DEEP)
    (tree / "link").symlink_to(tmp_path / "outside")
    parent = os.open(tmp_path, os.O_RDONLY)
    remove_tree(parent, "tree")
    remove_tree(parent, "tree")
    os.symlink("outside", "link", dir_fd=parent)
    remove_tree(parent, "link")
    os.close(parent)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["outside", "outside/precious"]
