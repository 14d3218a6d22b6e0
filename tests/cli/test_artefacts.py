"""Do artefacts with hostile names land in the caller's folder, and nowhere else?"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from .conftest import CommandLine
from .fakedaemon import KEY, FakeSession, created, ended

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
    done = eleagent("run", "-q", "-o", "out", "x")
    assert done.code == 126
    assert "plots/one.bin can't be written below out" in done.err
    assert tree(outside) == {"file"}
    assert (outside / "file").read_text() == "mine"
    assert not (folder / "table.md").is_symlink()


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
