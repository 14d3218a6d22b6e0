"""Does a look at a sandbox's files find every net change, whatever the sandbox does to hide it?"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent.wire.observations import Change, FileChange, FilesChanged
from eleagent_daemon.domain.observed import unpack
from eleagent_daemon.launcher.observe import files as module
from eleagent_daemon.launcher.observe.files import Look, frames
from eleagent_daemon.launcher.observe.manifest import Known, Manifest, differences
from eleagent_daemon.launcher.observe.passing import Went


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Bench:
    """Two places, and looks at them as the launcher takes them, but in this process."""

    def __init__(self, folder: Path) -> None:
        self.work, self.home = folder / "work", folder / "home"
        self.work.mkdir()
        self.home.mkdir()
        self.before = Manifest()
        self.unread: list[str] = []

    def look(self, *, settle: bool = True, until: float = 60.0) -> list[FileChange]:
        if settle:  # a file that was written just now is read again in any case
            time.sleep(module._RACY_NS / 1e9)
        roots = {"/workspace": str(self.work), "/home/agent": str(self.home)}
        looking = Look(roots=roots, before=self.before, until=time.monotonic() + until)
        found = list(looking.run())
        self.before, self.unread = looking.after, looking.unread
        return found

    def told(self, *, settle: bool = False) -> list[tuple[str, str]]:
        return [(one.change.value, one.path) for one in self.look(settle=settle)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_look_tells_what_was_created_changed_and_deleted_with_digests(bench: Bench) -> None:
    (bench.work / "deep" / "er").mkdir(parents=True)
    (bench.work / "deep" / "er" / "a").write_bytes(b"one")
    (bench.home / ".claude.json").write_bytes(b"{}")
    a, claude = sorted(bench.look(), key=lambda one: one.path, reverse=True)
    assert (a.path, a.change, a.size_bytes, a.sha256) == ("/workspace/deep/er/a", Change.CREATED, 3, sha(b"one"))
    assert claude.path == "/home/agent/.claude.json"
    assert bench.look() == []
    (bench.work / "deep" / "er" / "a").write_bytes(b"other")
    (bench.home / ".claude.json").unlink()
    gone, changed = bench.look()
    assert (changed.change, changed.sha256, changed.before_sha256) == (Change.CHANGED, sha(b"other"), sha(b"one"))
    assert (changed.size_bytes, changed.before_size_bytes) == (5, 3)
    assert (gone.change, gone.path, gone.before_sha256) == (Change.DELETED, "/home/agent/.claude.json", sha(b"{}"))


def test_look_sees_a_change_that_keeps_size_and_time(bench: Bench) -> None:
    file = bench.work / "a"
    file.write_bytes(b"aaaa")
    os.utime(file, ns=(1, 1))
    bench.look()
    file.write_bytes(b"bbbb")
    os.utime(file, ns=(1, 1))
    assert bench.told() == [("changed", "/workspace/a")]


def test_look_sees_a_change_right_after_it_read(bench: Bench) -> None:
    file = bench.work / "a"
    for number in range(30):
        file.write_bytes(b"%04d" % number)
        assert len(bench.look(settle=False)) == 1, number


@pytest.mark.parametrize("act", [lambda file: os.utime(file), lambda file: file.write_bytes(b"same")])
def test_look_takes_the_same_content_for_no_change(bench: Bench, act: Callable[[Path], object]) -> None:
    (bench.work / "a").write_bytes(b"same")
    bench.look()
    act(bench.work / "a")
    assert bench.look() == []


def test_look_tells_of_a_mode_that_changed(bench: Bench) -> None:
    (bench.work / "a").write_bytes(b"#!/bin/sh")
    bench.look()
    (bench.work / "a").chmod(0o755)
    (changed,) = bench.look()
    assert (changed.change, changed.mode) == (Change.CHANGED, 0o755)


def test_look_tells_a_renamed_file_from_a_new_one(bench: Bench) -> None:
    (bench.work / "d").mkdir()
    (bench.work / "d" / "a").write_bytes(b"one")
    (bench.work / "b").write_bytes(b"two")
    bench.look()
    (bench.work / "d").rename(bench.work / "e")
    (bench.work / "b").unlink()
    (bench.work / "c").write_bytes(b"two")
    found = {one.path: one for one in bench.look()}
    assert found["/workspace/e/a"].before_path == "/workspace/d/a"
    assert {path: one.change.value for path, one in found.items()} == {
        "/workspace/e/a": "renamed", "/workspace/b": "deleted", "/workspace/c": "created",
    }  # fmt: skip


def test_look_follows_no_link_and_names_what_is_no_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    (bench.work / "link").symlink_to(tmp_path / "secret")
    (bench.work / "folder").symlink_to(tmp_path)
    os.mkfifo(bench.work / "fifo")
    found = {one.path: one for one in bench.look()}
    assert {path: one.kind for path, one in found.items()} == {
        "/workspace/link": "link", "/workspace/folder": "link", "/workspace/fifo": "other",
    }  # fmt: skip
    assert found["/workspace/link"].sha256 == sha(str(tmp_path / "secret").encode())
    os.utime(bench.work / "fifo")
    assert bench.look() == []


def test_look_takes_hostile_names_as_they_are(bench: Bench) -> None:
    names = [b"\xff\xfe", b"new\nline", b"\x1b[2J", "ü".encode(), b" ", b"x" * 255]
    for name in names:
        (bench.work / os.fsdecode(name)).write_bytes(name)
    found = {one.path: one.sha256 for one in bench.look()}
    assert found == {f"/workspace/{name.decode('utf-8', 'backslashreplace')}": sha(name) for name in names}


def test_look_gets_to_the_depth_that_it_says_and_names_what_lies_deeper(bench: Bench) -> None:
    fd = os.open(bench.work, os.O_RDONLY)
    for _ in range(module.DEPTH_LIMIT + 3):
        below = os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        os.close(below)
        os.mkdir("d" * 100, dir_fd=fd)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    assert len(bench.look()) == module.DEPTH_LIMIT
    (deep,) = bench.unread
    assert f"more than {module.DEPTH_LIMIT} folders deep" in deep
    assert bench.look() == []


def test_look_says_what_it_could_not_read_and_reads_it_later(bench: Bench) -> None:
    (bench.work / "a").write_bytes(b"one")
    (created,) = bench.look(until=-1)
    assert (created.change, created.sha256) == (Change.CREATED, "")
    assert bench.unread == ["/workspace/a: there was no time to read it"]
    (read,) = bench.look()
    assert (read.change, read.sha256) == (Change.CHANGED, sha(b"one"))


def test_look_reads_holes_up_to_its_limit_alone(bench: Bench) -> None:
    with (bench.work / "holes").open("wb") as file:
        file.truncate(64 << 20)
    with (bench.work / "huge").open("wb") as file:
        file.truncate(module.READ_BYTES + 1)
    found = {one.path: one.sha256 for one in bench.look()}
    assert found == {"/workspace/holes": sha(bytes(64 << 20)), "/workspace/huge": ""}
    assert bench.unread == ["/workspace/huge: too much to be read"]


def test_look_does_not_take_another_folder_for_an_empty_one(bench: Bench, tmp_path: Path) -> None:
    (bench.work / "a").write_bytes(b"one")
    bench.look()
    bench.work.rename(tmp_path / "away")
    assert bench.look() == []
    assert bench.unread == ["/workspace: No such file or directory"]
    bench.work.mkdir()
    assert bench.look() == []
    assert bench.unread == ["/workspace: it is not the folder that was looked at before"]
    bench.work.rmdir()
    (tmp_path / "away").rename(bench.work)
    assert bench.look() == []


def test_look_in_a_child_writes_frames_that_come_back(bench: Bench, tmp_path: Path) -> None:
    for number in range(1000):
        (bench.work / f"{number}").write_bytes(b"%d" % number)
    new, changes = tmp_path / "m.new", tmp_path / "m.changes"
    child = os.fork()
    if child == 0:
        roots = {"/workspace": str(bench.work)}
        went = Went(paths=[b"/workspace/1", b"/workspace/gone"], more=3)
        module.look(roots, manifest=tmp_path / "m", new=new, changes=changes, went=went, final=True, timeout_s=60)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    told = [one for frame in frames(changes) for one in unpack(frame)]
    assert [len(one.changes) for one in told if isinstance(one, FilesChanged) and one.final] == [400, 400, 200]
    last = told[-1]
    assert isinstance(last, FilesChanged)
    assert (last.passed, last.passed_more) == (["/workspace/gone"], 3), "a file that is there did not come and go"
    assert new.exists()


known = st.builds(
    lambda inode, size, mtime, sha: Known("file", inode, size, 0o100644, mtime, 5, bytes([sha])),
    st.integers(1, 4), st.integers(0, 2), st.integers(1, 2), st.integers(0, 2),
)  # fmt: skip
tree = st.dictionaries(st.sampled_from([b"/w/a", b"/w/b", b"/w/c", b"/w/d"]), known)


@given(before=tree, after=tree)
@settings(deadline=None)
def test_differences_lead_from_one_tree_to_the_other(before, after):
    """Whoever applies them to the paths, sizes and digests of before gets those of after."""
    state = {path.decode(): (one.size, one.sha256.hex()) for path, one in before.items()}
    changes = list(differences(before, after))
    for one in changes:
        if one.change in (Change.DELETED, Change.RENAMED):
            del state[one.before_path or one.path]
    for one in changes:
        if one.change is not Change.DELETED:
            state[one.path] = (one.size_bytes, one.sha256)
    assert state == {path.decode(): (one.size, one.sha256.hex()) for path, one in after.items()}
