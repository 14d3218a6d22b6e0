"""Does a person's choice of daemon hold, in the order that is promised?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eleagent.wire.sessions import SessionList

from .conftest import CommandLine
from .fakedaemon import FakeDaemon


@pytest.fixture
def person(eleagent: CommandLine, tmp_path: Path) -> CommandLine:
    """A client without $ELEAGENT_HOST, with a folder of its own for what it knows."""
    del eleagent.env["ELEAGENT_HOST"]
    eleagent.env |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "ELEAGENT_HOME": str(tmp_path / "none")}
    return eleagent


def served(daemon: FakeDaemon) -> None:
    daemon.scripts["session_list"] = lambda call: SessionList([])


def test_context_in_use_is_where_commands_go(person: CommandLine, daemon: FakeDaemon) -> None:
    served(daemon)
    assert person("context", "add", "here", f"unix://{daemon.path}").code == 0
    assert "eleagent context use far" in person("context", "add", "far", "ssh://ada@far:2222").err
    assert person("--context", "here", "ps", "--json").code == 0
    assert person("context", "use", "here").code == 0
    assert person("ps", "--json").code == 0
    assert len(daemon.calls) == 2
    listed = json.loads(person("context", "ls", "--json").out)
    assert listed["current"] == "here"
    assert listed["contexts"]["far"]["host"] == "ssh://ada@far:2222"
    assert (person.folder / "config" / "eleagent" / "contexts.json").stat().st_mode & 0o777 == 0o600


def test_host_goes_before_the_context_and_the_flag_before_the_environment(
    person: CommandLine, daemon: FakeDaemon
) -> None:
    served(daemon)
    person("context", "add", "here", f"unix://{daemon.path}")
    person("context", "add", "none", "unix:///none.sock")
    person("context", "use", "none")
    host = f"unix://{daemon.path}"
    assert person("ps").code == 125
    assert person("--host", host, "ps", "--json").code == 0
    assert person("ps", "--json", ELEAGENT_HOST=host).code == 0
    assert person("ps", "--json", ELEAGENT_CONTEXT="here").code == 0
    assert person("--context", "here", "ps", "--json", ELEAGENT_HOST="unix:///none.sock").code == 0
    assert person("--context", "local", "status").err.startswith("eleagent: no daemon of yours is running")


def test_context_that_is_forgotten_is_not_in_use(person: CommandLine) -> None:
    person("context", "add", "far", "ssh://far")
    person("context", "use", "far")
    assert person("context", "rm", "far").code == 0
    assert json.loads(person("context", "ls", "--json").out) == {"current": "local", "contexts": {}}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("use", "nowhere"), "there is no context 'nowhere'; there are: local, far"),
        (("rm", "nowhere"), "there is no context 'nowhere'"),
        (("rm", "local"), "local is no context that was added: it stays"),
        (("add", "far", "ssh://other"), "there is a context 'far' already"),
        (("add", "local", "ssh://other"), "there is a context 'local' already"),
        (("add", "-x", "ssh://other"), "No such option"),
        (("add", "a b", "ssh://other"), "'a b' is no name"),
        (("add", "new", "server"), "the host 'server' names no daemon"),
    ],
)
def test_wrong_context_is_one_line(person: CommandLine, arguments: tuple[str, ...], says: str) -> None:
    person("context", "add", "far", "ssh://far")
    done = person("context", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert says in done.err


def test_contexts_that_cannot_be_read_say_where_they_are(person: CommandLine) -> None:
    path = person.folder / "config" / "eleagent" / "contexts.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = person("ps")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{path} can't be read" in done.err
