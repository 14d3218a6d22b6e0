"""Is a list of work read exactly, and is what became of it never lost or told twice?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eleagent.cli.tasks import LINE_LIMIT_BYTES, Progress, Step, read_tasks
from eleagent.errors import BadRequest, Conflict
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import SessionCreate

NOTHING = SessionCreate()


def a_list(folder: Path, *lines: Any) -> Path:
    path = folder / "work.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_tasks_are_the_flags_with_what_each_line_says_over_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    defaults = SessionCreate(model="small", env={"A": "1"}, limits=SessionLimits(max_cost_usd=1.0, max_turns=9))
    path = a_list(
        tmp_path,
        {"id": "one", "prompt": "first", "data": [str(tmp_path / "d")], "limits": {"max_turns": 3}},
        "",
        {"argv": ["make", "test"], "env": {"B": "2"}, "model": None},
    )
    one, two = read_tasks(path, defaults)
    assert (one.id, one.body.prompt, one.body.model, one.body.data) == ("one", "first", "small", [str(tmp_path / "d")])
    assert one.body.limits == SessionLimits(max_cost_usd=1.0, max_turns=3)
    assert (two.body.agent, two.body.argv, two.body.env) == ("command", ["make", "test"], {"A": "1", "B": "2"})
    assert two.id == two.digest[:12]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "no unit of work"),
        (["{"], "line 1: "),
        ([{"prompt": "a"}, {"promt": "b"}], "line 2: .*promt"),
        ([{}], "line 1: write either a prompt or argv"),
        ([{"prompt": "a", "argv": ["b"]}], "either a prompt or argv"),
        ([{"prompt": "a", "limits": {"max_turns": "many"}}], "line 1: .*max_turns"),
        ([{"prompt": "a", "data": ["/nowhere/at/all"]}], "there is no /nowhere/at/all"),
        ([{"id": "../x", "prompt": "a"}], r"id '\.\./x'"),
        ([{"id": 7, "prompt": "a"}], "id 7"),
        ([{"prompt": "a"}, {"prompt": "a"}], "units 1 and 2 are both"),
        ([{"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}], "units 1 and 2 are both 'x': give each its own id"),
        (['{"prompt": "' + "x" * LINE_LIMIT_BYTES + '"}'], f"longer than {LINE_LIMIT_BYTES} bytes"),
    ],
)
def test_tasks_that_can_not_be_done_are_refused_by_line(tmp_path: Path, lines: list[Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        read_tasks(a_list(tmp_path, *lines), NOTHING)


def test_tasks_of_no_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file"):
        read_tasks(tmp_path / "nothing", NOTHING)


def step(**changes: Any) -> Step:
    return Step(**({"id": "a", "digest": "d", "session": "s-a", "attempt": 1} | changes))


def test_progress_is_kept_and_a_changed_unit_is_another(tmp_path: Path) -> None:
    (unit,) = read_tasks(a_list(tmp_path, {"id": "a", "prompt": "x"}), NOTHING)
    with Progress.open(tmp_path / "p") as progress:
        assert progress.find(unit) is None
        progress.keep(step(digest=unit.digest))
        progress.keep(step(digest=unit.digest, state="succeeded", exit_code=0))
    (changed,) = read_tasks(a_list(tmp_path, {"id": "a", "prompt": "y"}), NOTHING)
    with Progress.open(tmp_path / "p") as progress:
        found = progress.find(unit)
        assert found is not None
        assert found.done
        assert progress.find(changed) is None


def test_progress_of_a_run_that_died_over_a_line_loses_that_line_alone(tmp_path: Path) -> None:
    with Progress.open(tmp_path / "p") as progress:
        progress.keep(step())
    with (tmp_path / "p").open("ab") as file:
        file.write(b'{"id":"b","dig')
    with Progress.open(tmp_path / "p") as progress:
        assert list(progress.steps) == ["a"]
        progress.keep(step(id="b"))
    with Progress.open(tmp_path / "p") as progress:
        assert list(progress.steps) == ["a", "b"]


def test_progress_is_one_runs_at_a_time_and_no_other_file(tmp_path: Path) -> None:
    with Progress.open(tmp_path / "p"), pytest.raises(Conflict, match="another run works on this list"):
        Progress.open(tmp_path / "p")
    (tmp_path / "notes").write_text("my notes\n")
    with pytest.raises(BadRequest, match="is no progress of a list"):
        Progress.open(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "my notes\n"
