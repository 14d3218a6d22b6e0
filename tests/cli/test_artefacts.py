"""Do artefacts with hostile names land in the caller's folder, and nowhere else?"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from eleagent.operations.table import BY_ID

from .conftest import CommandLine
from .fakedaemon import KEY, Call, FakeSession, created, ended

FILES = {"table.md": b"| a |\n", "plots/one.bin": bytes(range(256)) * 3000}


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_output_folder_gets_every_artefact(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    done = eleagent("run", "-q", "-o", "new/out", "x")
    out = eleagent.folder / "new/out"
    assert (done.code, done.err) == (0, "")
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    assert tree(out) == set(FILES)
    assert stat.S_IMODE((out / "table.md").stat().st_mode) & 0o111 == 0


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/../../evil", "a//b", ".", "..", "a/", "", "a\x1b[2Jb", "a\nb", "a\u202eb", "a/./b"],
)
def test_name_that_leads_elsewhere_is_refused(eleagent: CommandLine, name: str) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts={name: b"evil", "good": b"good"}))
    done = eleagent("run", "-q", "-o", "out", "x")
    assert done.code == 126
    assert "is not one to write" in done.err
    assert "\x1b" not in done.err
    assert tree(eleagent.folder) - {"api.sock"} == {"out/good"}


def test_links_in_the_folder_are_not_followed(eleagent: CommandLine) -> None:
    folder, outside = eleagent.folder / "out", eleagent.folder / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / "plots").symlink_to(outside)
    (folder / "table.md").symlink_to(outside / "file")
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    done = eleagent("run", "-q", "--yes", "-o", "out", "x")
    assert done.code == 126
    assert "plots/one.bin can't be written below out" in done.err
    assert tree(outside) == {"file"}
    assert (outside / "file").read_text() == "mine"
    assert not (folder / "table.md").is_symlink()


COPIES = pytest.mark.parametrize("command", [["run", "-q", "-o", "out", "x"], ["cp", "@:.", "out"]], ids=["run", "cp"])


@COPIES
def test_other_file_is_left_until_told_to_replace_it(eleagent: CommandLine, command: list[str]) -> None:
    out = eleagent.folder / "out"
    (out / "plots").mkdir(parents=True)
    (out / "table.md").write_text("mine")
    (out / "plots/one.bin").symlink_to("/etc/hostname")
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES | {"new": b"new"}))
    done = eleagent(*command)
    assert done.code == 2
    assert done.err.splitlines()[0] == (
        "eleagent: not copied, another file is there (--yes replaces it): table.md, plots/one.bin"
    )
    assert (out / "table.md").read_text() == "mine"
    assert (out / "plots/one.bin").is_symlink()
    assert tree(out) == {*FILES, "new"}
    assert eleagent("--yes", *command).code == 0
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    assert not (out / "plots/one.bin").is_symlink()


def test_file_that_appears_meanwhile_is_left(eleagent: CommandLine) -> None:
    def send_late(call: Call) -> list[bytes]:
        (eleagent.folder / "out/new").write_text("mine")
        return [b"new"]

    eleagent.serve(FakeSession(created(), ended(), artefacts={"new": b"new"}))
    eleagent.daemon.scripts["artefact_get"] = send_late
    done = eleagent("cp", "@:.", "out")
    assert (done.code, tree(eleagent.folder / "out")) == (2, {"new"})
    assert (eleagent.folder / "out/new").read_text() == "mine"


@COPIES
def test_equal_file_is_fine_and_stays(eleagent: CommandLine, command: list[str]) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    assert eleagent(*command).code == 0
    before = (eleagent.folder / "out/table.md").stat()
    again = eleagent(*command)
    assert (again.code, "not copied" in again.err) == (0, False)
    assert (eleagent.folder / "out/table.md").stat().st_ino == before.st_ino


@COPIES
def test_hidden_names_are_left_until_told_to_take_them(eleagent: CommandLine, command: list[str]) -> None:
    hidden = [".git/config", "a/.claude/settings.json", ".envrc", "..x"]
    eleagent.serve(FakeSession(created(), ended(), artefacts=dict.fromkeys(hidden, b"evil") | {"a/good.": b"good"}))
    done = eleagent(*command)
    assert done.code == 126
    assert done.err.splitlines()[0] == (
        f"eleagent: not copied, tools may act on hidden files (--yes takes them): {', '.join(hidden)}"
    )
    assert {path.name for path in (eleagent.folder / "out").rglob("*")} == {"a", "good."}
    assert eleagent(*command, "--yes").code == 0
    assert tree(eleagent.folder / "out") == {*hidden, "a/good."}


@pytest.mark.parametrize("source", [".git", ".git/config", "./.git/config"])
def test_hidden_folder_is_not_hidden_by_naming_it(eleagent: CommandLine, source: str) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts={".git/config": b"evil"}))
    assert eleagent("cp", f"@:{source}", "out").code == 126
    assert tree(eleagent.folder) == {"api.sock"}


@COPIES
def test_name_that_the_disk_refuses_stops_no_other(eleagent: CommandLine, command: list[str]) -> None:
    names = ["a\x1bb", "n" * 300, "d" * 300 + "/x", "good", "good/below"]
    eleagent.serve(FakeSession(created(), ended(), artefacts={name: name.encode() for name in names}))
    done = eleagent(*command)
    assert done.code == 126
    assert done.err.count("not copied: ") == 4
    assert done.err.count("File name too long") == 2
    assert tree(eleagent.folder) == {"api.sock", "out/good"}


def test_name_that_the_locale_lacks_stops_no_other(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts={"→": b"x", "good": b"good"}))
    done = eleagent("cp", "@:.", "out", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.code == 126
    assert tree(eleagent.folder) == {"api.sock", "out/good"}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link away")
@pytest.mark.parametrize("command", [["run", "-q", "-o", "link/", "x"], ["cp", "@:.", "link"], ["cp", "@:new", "link"]])
@pytest.mark.parametrize(("owner", "code"), [(0, 0), (4321, 126)])
def test_link_to_the_folder_must_be_ones_own(eleagent: CommandLine, command: list[str], owner: int, code: int) -> None:
    (eleagent.folder / "real").mkdir()
    link = eleagent.folder / "link"
    link.symlink_to("real")
    os.chown(link, owner, owner, follow_symlinks=False)
    eleagent.serve(FakeSession(created(), ended(), artefacts={"new": b"new"}))
    done = eleagent(*command)
    assert done.code == code, done.err
    assert ("is a link of user 4321" in done.err) == (code != 0)
    assert tree(eleagent.folder / "real") == (set() if code else {"new"})
    assert not code or not eleagent.daemon.called(BY_ID["session_create"])


def test_folder_in_the_way_is_named_and_kept(eleagent: CommandLine) -> None:
    (eleagent.folder / "out/table.md").mkdir(parents=True)
    eleagent.serve(FakeSession(created(), ended(), artefacts={"table.md": b"x"}))
    done = eleagent("run", "-q", "-o", "out", "x")
    assert done.code == 126
    assert [path.name for path in (eleagent.folder / "out").iterdir()] == ["table.md"]


def test_other_content_than_recorded_is_not_kept(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    session.digests["table.md"] = "0" * 64
    done = eleagent("run", "-q", "-o", "out", "x")
    assert done.code == 125
    assert "the record says 0000" in done.err
    assert tree(eleagent.folder / "out") == {"plots/one.bin"}


def test_failed_copy_does_not_hide_how_the_session_ended(eleagent: CommandLine) -> None:
    from eleagent.wire.sessions import State

    eleagent.serve(FakeSession(created(), ended(State.FAILED, "exit", 9), artefacts={"..": b""}))
    assert eleagent("run", "-q", "-o", "out", "x").code == 9


@pytest.mark.parametrize(
    ("source", "dest", "expected"),
    [
        ("table.md", "copy.md", {"copy.md"}),
        ("/artefacts/table.md", "there", {"there/table.md"}),
        ("plots", "there", {"there/one.bin"}),
        (".", "fresh", {"fresh/table.md", "fresh/plots/one.bin"}),
    ],
)
def test_cp_copies_files_and_folders(eleagent: CommandLine, source: str, dest: str, expected: set[str]) -> None:
    (eleagent.folder / "there").mkdir()
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    done = eleagent("cp", f"@:{source}", dest)
    assert done.code == 0, done.err
    assert tree(eleagent.folder) - {"api.sock"} == expected


def test_cp_of_what_is_not_there_exits_2(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts=FILES))
    done = eleagent("cp", "@:nothing", "out")
    assert done.code == 2
    assert "has no artefact 'nothing'" in done.err


def test_artefact_cat_gives_the_bytes_and_ls_the_digests(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended(), artefacts={"raw": b"\x1b[31mred\x1b[0m"}))
    assert eleagent("artifact", "cat", KEY, "raw").out == "\x1b[31mred\x1b[0m"
    listed = json.loads(eleagent("--json", "artefacts", "ls").out)
    assert [item["path"] for item in listed["artefacts"]] == ["raw"]
    assert listed["artefacts"][0]["sha256"] in eleagent("artefact", "ls").out
