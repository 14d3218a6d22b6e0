"""Does a spare run the very program that its session asked for, whatever words that has?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent_daemon.domain.sandbox import GATE, GATE_WORD, SPARE_ARGV, START_FILE, Doors, SandboxSpec
from eleagent_daemon.launcher.startfile import lay_start, write_start

TOLD = "import os, sys, json; print(json.dumps([sys.argv[1:], os.environ.get('A'), sys.stdin.read()]))"


def spec(*argv: str, env: dict[str, str] | None = None, stdin: bool = True) -> SandboxSpec:
    return SandboxSpec(
        session="s-aaaaaaaaaa", installation="test", attempt=1, image="sha256:" + "0" * 64, argv=argv, env=env or {},
        uid=10001, stdin=stdin, doors=Doors(),
    )  # fmt: skip


def through_gate(folder: Path, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    start = ["/bin/sh", str(folder / "start")]
    return subprocess.run(["/bin/sh", "-c", GATE, "sh", *start], input=sent, capture_output=True, timeout=5)


def test_spare_differs_in_program_environment_and_stdin_alone() -> None:
    wanted = spec("prog", "x", env={"A": "1"}, stdin=False)
    spare = wanted.spare()
    assert (spare.argv, spare.env, spare.stdin) == (SPARE_ARGV, {}, True)
    assert msgspec.structs.replace(spare, argv=wanted.argv, env=wanted.env, stdin=False) == wanted
    assert spare.is_spare
    assert not wanted.is_spare
    assert not spec(*SPARE_ARGV, env={"HOME": "/"}).is_spare, "a program of that name in a session is none"


def test_spare_that_nobody_took_runs_nothing(tmp_path: Path) -> None:
    assert lay_start(tmp_path, os.getgid()) == {START_FILE: str(tmp_path / "start")}
    assert (tmp_path / "start").stat().st_mode & 0o777 == 0o640
    (tmp_path / "start").unlink()
    lay_start(tmp_path, None)
    assert (tmp_path / "start").stat().st_mode & 0o777 == 0o600, "a person's group is not always his alone"
    done = through_gate(tmp_path, GATE_WORD)
    assert (done.returncode, done.stdout) == (125, b"")


@settings(max_examples=10, deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=4),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
def test_spare_runs_what_was_asked_for_to_the_letter(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], value: str
) -> None:
    folder = tmp_path_factory.mktemp("etc")
    lay_start(folder, os.getgid())
    inode = (folder / "start").stat().st_ino
    write_start(folder, spec("/usr/bin/env", "python3", "-c", TOLD, *words, env={"A": value, "LC_ALL": "C.UTF-8"}))
    assert (folder / "start").stat().st_ino == inode, "the file that is bound inside"
    done = through_gate(folder, GATE_WORD + b"rest")
    assert msgspec.json.decode(done.stdout) == [words, value, "rest"], done.stderr


def test_spare_without_stdin_gives_its_program_none(tmp_path: Path) -> None:
    lay_start(tmp_path, os.getgid())
    write_start(tmp_path, spec("cat", stdin=False))
    assert through_gate(tmp_path, GATE_WORD + b"rest").stdout == b""
