"""Does the code keep the house's rules that no linter knows?"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import eleagent
import eleagent_daemon
import eleagent_tui

ROOT = Path(__file__).parents[2]
LINES_LIMIT = 500

# Who may start what outlives the call, and why.
TASK_MAKERS = {
    "eleagent_daemon/sessions/supervisor.py": "sessions and the daemon's own parts",
    "eleagent_daemon/launcher/tasks.py": "the launcher's, under its guard",
    "eleagent_daemon/api/unix.py": "one loop, ended with the socket",
    "eleagent_daemon/gateway/accept.py": "one loop a listener, ended with its session's doors",
    "eleagent_daemon/gateway/record.py": "records that must outlive the connection they tell of",
    "eleagent_daemon/gateway/tunnel.py": "both directions of one tunnel, in one TaskGroup",
}
PRINTERS = {
    "eleagent_daemon/config.py": "a command",
    "eleagent_daemon/main.py": "why it could not start, to whoever started it",
    "eleagent_daemon/launcher/main.py": "why it could not start, to whoever started it",
    "eleagent_daemon/daemonctl.py": "how a start in the background went, to whoever asked for it",
}
TOP_LEVEL = {
    ".ci", ".editorconfig", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
    "bench", "compose", "daemon", "docs", "eleagent", "pyproject.toml", "tests", "tui",
}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    for package in (eleagent, eleagent_daemon, eleagent_tui):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(folder.parent)), path


def calls(path: Path, name: str) -> bool:
    """Whether the module calls a function or method of that name."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            called = node.func
            if name == (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)):
                return True
    return False


@pytest.mark.parametrize(("name", "path"), [pytest.param(*one, id=one[0]) for one in modules()])
def test_module_says_in_one_sentence_what_it_is_for(name: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, f"{name} has no docstring"
    first = docstring.split("\n\n")[0].strip()
    assert first[-1] in ".?!…)", f"{name}: its first sentence does not end: {first!r}"
    assert text.count("\n") <= LINES_LIMIT, f"{name} is longer than {LINES_LIMIT} lines: split it"


def test_tasks_are_made_in_few_places() -> None:
    assert {name for name, path in modules() if calls(path, "create_task")} == set(TASK_MAKERS)


def test_daemon_prints_only_where_it_is_a_command() -> None:
    daemon = [(name, path) for name, path in modules() if name.startswith("eleagent_daemon/")]
    assert {name for name, path in daemon if calls(path, "print")} == set(PRINTERS)


def test_modules_have_names_that_say_something() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}
    assert [name for name, path in modules() if path.stem in vague or path.parent.name in vague] == []


@pytest.mark.checkout
def test_top_level_holds_only_what_belongs_there() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()] + [".git"]
    names = {path.name for path in ROOT.iterdir()}
    assert {name for name in names if not any(fnmatch(name, pattern) for pattern in ignored)} == TOP_LEVEL


@pytest.mark.checkout
def test_distribution_installs_our_three_packages_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["eleagent", "daemon/eleagent_daemon", "tui/eleagent_tui"]
    for folder in ("daemon", "tui"):
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder} as a package would overwrite others' files"
