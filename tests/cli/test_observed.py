"""Does a person see what the host saw of a session: short by default, whole where it is asked for, and never raw?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent.cli.observed import Files
from eleagent.wire.observations import (
    Change,
    ClaimsCompared,
    FileChange,
    FilesChanged,
    ObservationGap,
    ObservationStarted,
    Observer,
    ProgramExecuted,
    Unreported,
)

from .conftest import CommandLine
from .fakedaemon import KEY, NOW, FakeSession, created, ended

OUT = FileChange(path="/artefacts/out.txt", change=Change.CREATED, size_bytes=1234, sha256="aa")
OWN = FileChange(path="/home/agent/.claude.json", change=Change.CREATED, size_bytes=5, sha256="bb")
HOSTILE = FileChange(path="/workspace/\x1b[2J", change=Change.DELETED, before_size_bytes=7, before_sha256="cc")
GROWN = FileChange(
    path="/workspace/log", change=Change.CHANGED, size_bytes=20, sha256="ee", before_size_bytes=10, before_sha256="dd"
)
MOVED = FileChange(path="/workspace/b", change=Change.RENAMED, size_bytes=3, sha256="ff", before_path="/workspace/a")


def ran(*argv: str, exe: str = "", count: int = 1) -> ProgramExecuted:
    return ProgramExecuted(at=NOW, pid=7, ppid=6, exe=exe or f"/usr/bin/{argv[0]}", argv=list(argv), count=count)


def compared(*unseen: str, final: bool = True) -> ClaimsCompared:
    unreported = [Unreported("/usr/bin/git", 3, ["git", "status"])]
    return ClaimsCompared(
        reported=2, seen=2, unseen=list(unseen), covered=5, unreported=unreported, unplaced=1, final=final
    )


@pytest.fixture
def watched(eleagent: CommandLine) -> CommandLine:
    eleagent.serve(
        FakeSession(
            created(),
            ObservationStarted(programs=Observer.AUDIT),
            ran("bash", "-c", "echo 'a b'"),
            ran("true", count=40),
            FilesChanged(
                changes=[OUT, OWN, HOSTILE, GROWN, MOVED],
                unread=["/workspace/deep: too deep"],
                passed=["/workspace/t.tmp"],
                passed_more=2,
            ),
            compared("toolu_1"),
            ObservationGap(begin=NOW, end=NOW, what="the programs: the launcher was away", missed=3),
            ended(),
        )
    )
    return eleagent


def test_logs_show_files_and_what_does_not_match_but_no_program(watched: CommandLine) -> None:
    shown = watched("logs").err
    assert "files: A /artefacts/out.txt, D /workspace/\\x1b[2J, M /workspace/log, R /workspace/b" in shown
    assert ".claude.json" not in shown
    assert "the agent reported a command that was never executed: toolu_1" in shown
    assert "nobody watched the programs: the launcher was away" in shown
    assert "3 missed" in shown
    assert "a file could not be looked at: /workspace/deep: too deep" in shown
    assert "echo" not in shown


def test_logs_verbose_show_every_program_and_file(watched: CommandLine) -> None:
    shown = watched("logs", "-v").err
    assert "$ bash -c 'echo '\"'\"'a b'\"'\"''" in shown
    assert "$ true  x 40" in shown
    assert "/home/agent/.claude.json" in shown
    assert "10 B → 20 B" in shown
    assert "came and went: /workspace/t.tmp" in shown
    assert "came and went: 2 more" in shown


def test_logs_say_where_programs_are_not_watched(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ObservationStarted(programs=Observer.NOTHING, why="no root"), ended()))
    assert "programs are not watched: no root" in eleagent("logs").err
    assert "not watched: no root" in eleagent("session", "show", KEY).out


def test_session_show_has_what_was_observed_in_short(watched: CommandLine) -> None:
    text = " ".join(watched("session", "show", KEY).out.split())
    assert "programs 41 executed: true x 40, bash x 1" in text
    assert (
        f"files 1 created, 1 changed, 1 deleted, 1 renamed · 1 in HOME · 3 came and went (eleagent diff {KEY})" in text
    )
    assert "not read /workspace/deep: too deep" in text
    assert "reports 2 of 3 reported commands seen · 3 programs unreported (git) · 1 of unknown parents" in text
    assert "reported, never executed toolu_1" in text
    assert (
        "unwatched 2026-01-01T00:00:00Z to 2026-01-01T00:00:00Z: the programs: the launcher was away · 3 missed" in text
    )
    observed = json.loads(watched("session", "show", KEY, "--json").out)["observed"]
    assert (observed["executions"], observed["unseen"], observed["home_files"]) == (41, ["toolu_1"], 1)


def test_diff_lists_net_changes_and_hides_home_until_asked(watched: CommandLine) -> None:
    done = watched("diff")
    rows = [line.split() for line in done.out.splitlines()]
    assert rows == [
        ["PATH", "SIZE"], ["A", "/artefacts/out.txt", "1.23", "kB"], ["D", "/workspace/\\x1b[2J", "7", "B"],
        ["R", "/workspace/a", "→", "/workspace/b", "3", "B"], ["M", "/workspace/log", "10", "B", "→", "20", "B"],
    ]  # fmt: skip
    assert "1 more in HOME (--all shows them)" in done.err
    assert "/home/agent/.claude.json" in watched("diff", "--all").out
    assert watched("diff", "-q").out.splitlines()[0] == "/artefacts/out.txt"
    assert json.loads(watched("diff", "--json").out)["changes"][0]["path"] == "/artefacts/out.txt"


def test_diff_tells_no_change_from_no_look(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), FilesChanged(changes=[], final=True), ended()))
    assert "no files changed" in eleagent("diff").err
    del session.events[1]
    assert "not looked at yet" in eleagent("diff").err


State = dict[str, str]
paths = st.sampled_from(["/w/a", "/w/b", "/w/c"])
steps = st.lists(
    st.tuples(st.sampled_from(["write", "remove", "move", "move"]), paths, paths, st.sampled_from("xyz")), max_size=9
)


def step(state: State, act: tuple[str, str, str, str]) -> tuple[State, FileChange | None]:
    """One change of one file, as a look would tell it."""
    kind, path, other, content = act
    after = dict(state)
    if kind == "write" and state.get(path) != content:
        after[path] = content
        change = Change.CHANGED if path in state else Change.CREATED
        return after, FileChange(path=path, change=change, sha256=content, before_sha256=state.get(path, ""))
    if kind == "remove" and path in state:
        return after, FileChange(path=path, change=Change.DELETED, before_sha256=after.pop(path))
    if kind == "move" and path in state and other not in state:
        after[other] = after.pop(path)
        return after, FileChange(
            path=other, change=Change.RENAMED, sha256=state[path], before_path=path, before_sha256=state[path]
        )
    return state, None


@given(steps)
@settings(deadline=None, max_examples=200)
def test_net_changes_lead_from_the_first_state_to_the_last(acts):
    first = state = {"/w/a": "x", "/w/b": "y"}
    files = Files()
    for act in acts:
        state, change = step(state, act)
        if change is not None:
            files.add([change])
    result = dict(first)
    for one in files.net():
        assert first.get(one.before_path or one.path, "") == one.before_sha256
        if one.change in (Change.DELETED, Change.RENAMED):
            result.pop(one.before_path or one.path)
    for one in files.net():
        if one.change is not Change.DELETED:
            result[one.path] = one.sha256
    assert result == state
