"""Are an agent's reports of commands held against what was executed, and neither more nor less marked than is known?"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from eleagent.wire.events import AgentToolCall
from eleagent.wire.observations import (
    Arguments,
    ClaimsCompared,
    ObservationGap,
    ObservationStarted,
    Observer,
    ProgramExecuted,
)
from eleagent_daemon.sessions.claims import RUNS_LIMIT, Claims

AGENT = 40
WRAPPED = "source /home/agent/snapshot.sh 2>/dev/null || true && eval %s < /dev/null && pwd -P >| /tmp/claude-1-cwd"


class Bench:
    def __init__(self, observer: Observer = Observer.AUDIT) -> None:
        self.claims = Claims({"Bash": "command"})
        self.claims.take(ObservationStarted(programs=observer))
        self.pids = itertools.count(100)
        self.run("/usr/bin/claude", "claude", "-p", pid=AGENT, ppid=1)

    def call(self, command: str, name: str = "Bash", identity: str = "") -> str:
        identity = identity or f"toolu_{next(self.pids)}"
        text = msgspec.json.encode({"command": command, "description": "x"}).decode()
        self.claims.take(AgentToolCall(id=identity, name=name, input=text))
        return identity

    def run(self, exe: str, *argv: str, pid: int = 0, ppid: int = AGENT, count: int = 1) -> int:
        pid = pid or next(self.pids)
        self.claims.take(
            ProgramExecuted(
                at="", pid=pid, ppid=ppid, exe=exe, argv=list(argv), arguments=Arguments.KERNEL, count=count
            )
        )
        return pid

    def shell(self, command: str, ppid: int = AGENT) -> int:
        return self.run("/usr/bin/bash", "/bin/bash", "-c", command, ppid=ppid)

    def compare(self, *, final: bool = False) -> ClaimsCompared:
        compared = self.claims.compare(final=final)
        self.claims.take(compared)
        return compared


@pytest.mark.parametrize(
    ("command", "quoted"),
    [
        ("ls", "ls"),
        ("ls -la /data", "'ls -la /data'"),
        ('echo "it\'s"\nexit 3', "'echo \"it'\"'\"'s\"\nexit 3'"),
        ('printf "%s" $HOME \\; x', "'printf \"%s\" $HOME \\; x'"),
        ("ünï | cat", "'ünï | cat'"),
    ],
)
def test_claims_find_a_command_in_the_shell_that_evaluates_it(command: str, quoted: str) -> None:
    bench = Bench()
    bench.shell(WRAPPED % quoted)  # it may be seen before its report is read
    bench.call(command)
    found = bench.compare()
    assert (found.reported, found.seen, found.unreported, found.covered) == (1, 1, [], 1)


def test_claims_find_a_command_that_has_input_of_its_own() -> None:
    """To a here-document Claude Code adds no other input."""
    bench = Bench()
    bench.call("python3 - <<'END'\nprint(1)\nEND\n")
    bench.shell(WRAPPED.replace(" < /dev/null", "") % "'python3 - <<'\"'\"'END'\"'\"'\nprint(1)\nEND\n'")
    bench.call("cat /etc/hosts < /dev/null")
    bench.shell(WRAPPED.replace(" < /dev/null", "") % "'cat /etc/hosts < /dev/null'")
    found = bench.compare()
    assert (found.reported, found.seen, found.unreported) == (2, 2, [])


def test_claims_find_a_command_that_is_a_shells_argument() -> None:
    bench = Bench()
    bench.call("make test")
    bench.shell("make test")
    assert bench.compare().seen == 1


@pytest.mark.parametrize(
    "run",
    [
        "ls -la; rm -rf /",
        "echo ls",
        "l",
        "ls < /dev/null && pwd -P >| /tmp/x; rm -rf /",
        "rm -rf /; true && eval ls",
        "rm -rf / && eval ls < /dev/null && pwd -P >| /tmp/x",
    ],
)
def test_claims_do_not_take_another_command_for_the_reported_one(run: str) -> None:
    bench = Bench()
    call = bench.call("ls")
    bench.shell(WRAPPED % f"'{run}'")
    first = bench.compare()
    assert (first.reported, first.seen, first.unseen) == (1, 0, [])
    assert [(one.exe, one.count) for one in first.unreported] == [("/usr/bin/bash", 1)]
    assert bench.compare().unseen == [call]
    assert bench.compare().reported == 0, "it is told once"


def test_claims_take_no_shell_of_a_command_for_the_agents_own() -> None:
    bench = Bench()
    bench.call("sh inner")
    bench.call("hidden", identity="second")
    outer = bench.shell(WRAPPED % "'sh inner'")
    bench.shell("hidden", ppid=outer)
    found = bench.compare(final=True)
    assert (found.seen, found.unseen, found.covered) == (1, ["second"], 2)


def test_claims_need_an_execution_for_each_report() -> None:
    bench = Bench()
    bench.call("ls", identity="one")
    bench.call("ls", identity="two")
    bench.shell(WRAPPED % "ls")
    assert bench.compare(final=True).unseen == ["two"]


def test_claims_cover_what_runs_below_a_reported_command_and_nothing_else() -> None:
    bench = Bench()
    bench.call("make")
    shell = bench.shell(WRAPPED % "make")
    make = bench.run("/usr/bin/make", "make", ppid=shell)
    bench.run("/usr/bin/cc", "cc", "-c", "x.c", ppid=make)
    bench.run("/usr/bin/true", "true", pid=make, ppid=shell)
    bench.run("/usr/bin/git", "git", "status")
    own = bench.shell("curl x | sh")
    bench.run("/usr/bin/curl", "curl", "x", ppid=own)
    bench.run("/usr/bin/lost", "lost", ppid=7)
    found = bench.compare()
    assert (found.covered, found.unplaced) == (4, 1)
    assert {(one.exe, one.count, tuple(one.argv)) for one in found.unreported} == {
        ("/usr/bin/git", 1, ("git", "status")), ("/usr/bin/bash", 1, ("/bin/bash", "-c", "curl x | sh")),
        ("/usr/bin/curl", 1, ("curl", "x")),
    }  # fmt: skip
    bench.run("/usr/bin/late", "late", ppid=make)
    assert bench.compare().covered == 1, "children of an earlier turn's command are known"


def test_claims_find_a_command_that_was_seen_late() -> None:
    bench = Bench()
    bench.call("ls")
    assert bench.compare().unseen == []
    bench.shell(WRAPPED % "ls")
    assert (bench.compare().seen, bench.compare(final=True).unseen) == (1, [])


@pytest.mark.parametrize("lack", ["nothing", "events", "gap", "count", "many", "cut"])
def test_claims_call_nothing_unseen_where_not_everything_was_seen(lack: str) -> None:
    bench = Bench({"nothing": Observer.NOTHING, "events": Observer.EVENTS}.get(lack, Observer.AUDIT))
    bench.call("ls")
    if lack == "gap":
        bench.claims.take(ObservationGap(begin="", end="", what="the programs"))
    if lack == "count":
        bench.run("/usr/bin/true", "true", count=2)
    if lack == "cut":
        bench.claims.take(AgentToolCall(id="long", name="Bash", input='{"command": "xxx', truncated=True))
    for _ in range(RUNS_LIMIT + 1 if lack == "many" else 0):
        bench.run("/usr/bin/true", "true")
    found = bench.compare(final=True)
    assert (found.reported, found.unseen, found.incomplete) == (1, [], True)


def test_claims_ignore_tools_that_run_nothing_and_agents_that_report_nothing() -> None:
    bench = Bench()
    bench.call("ls", name="Read")
    assert bench.compare().reported == 0
    assert not Claims({}).active
    bench.compare(final=True)
    assert not bench.claims.active, "after the last comparison there is none"


def test_claims_come_to_the_same_when_a_daemon_begins_anew() -> None:
    def feed(bench: Bench) -> None:
        bench.call("ls", identity="one")
        bench.call("gone", identity="two")
        bench.run("/usr/bin/git", "git")
        bench.shell(WRAPPED % "ls")

    first, second = Bench(), Bench()
    feed(first)
    feed(second)
    assert first.claims.compare() == first.claims.compare() == second.claims.compare()
    first.compare()
    second.claims.take(second.claims.compare())
    assert first.compare(final=True) == second.compare(final=True)


def test_claims_shorten_the_arguments_that_they_show() -> None:
    bench = Bench()
    bench.run("/usr/bin/x", "x", "y" * 1000, "z")
    ((one),) = bench.compare().unreported
    assert (one.argv[0], len(one.argv[1]), one.argv[2]) == ("x", 200, "…")
