"""Does `run` follow a session as a person, a script and a pipe need it?"""

from __future__ import annotations

import json
import os
import signal
import threading

import msgspec
import pytest

from eleagent.cli.screen import DEFAULT_COLUMNS, width
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev
from eleagent.wire.approvals import ApprovalAnswer, ApprovalKind, ApprovalMode, ApprovalState, Deciding
from eleagent.wire.attestation import Binding, Control, ControlClass, Report
from eleagent.wire.limits import OnLimit, SessionLimits
from eleagent.wire.sessions import Session, SessionCreate, State, Usage
from eleagent.wire.timeline import Event, Notice

from .conftest import CommandLine
from .fakedaemon import KEY, FakeSession, created, ended

AGENT_TURN = (
    created(model="claude-x"),
    ev.SessionStarted(),
    ev.AgentMessage("Reading the reports."),
    ev.AgentToolCall("t1", "Bash", '{"command":"ls /data\\nwc -l /data/*"}'),
    ev.AgentToolResult("t1", "\n".join(f"row {number}" for number in range(20))),
    ev.EgressTunnel(False, "model-only", "example.com", 443, reason="no rule allows it"),
    ev.AgentMessage("Three subsystems failed."),
    ev.AgentTurnFinished("Three subsystems failed.", False, "success", 1, True),
    ended(usage=Usage(requests=2, input_tokens=1200, output_tokens=34)),
)


def body_of(eleagent: CommandLine) -> SessionCreate:
    (call,) = eleagent.daemon.called(BY_ID["session_create"])
    assert call.headers["Idempotency-Key"]
    body: SessionCreate = call.decoded(SessionCreate)
    return body


def test_run_sends_what_its_flags_say(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    (eleagent.folder / "real").mkdir()
    (eleagent.folder / "link").symlink_to("real")
    (eleagent.folder / "script.json").write_text('{"turns": []}')
    done = eleagent(
        "--no-color", "run", "--data", "link", "--data", "/etc", "-m", "opus", "-n", "otter", "--runtime", "docker",
        "--policy", "seed-connect", "--timeout", "10m", "-e", "A=1", "-e", "B=x=y", "--model-script", "script.json",
        "Count the failures", "-q",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert body_of(eleagent) == SessionCreate(
        prompt="Count the failures", data=[f"{eleagent.folder}/link", "/etc"], name="otter", model="opus",
        runtime="docker", policy="seed-connect", timeout_s=600, env={"A": "1", "B": "x=y"},
        model_script='{"turns": []}', approvals=ApprovalMode.DENY,
    )  # fmt: skip


def test_run_of_a_program_keeps_its_flags_apart(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(agent="command"), ended()))
    assert eleagent("run", "-q", "--", "grep", "--json", "-q", "--", "x").code == 0
    assert body_of(eleagent) == SessionCreate(
        agent="command", argv=["grep", "--json", "-q", "--", "x"], approvals=ApprovalMode.DENY
    )


def test_run_reads_a_prompt_from_stdin(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    eleagent("run", "-", stdin="zähle die Fehler\n".encode())
    assert body_of(eleagent).prompt == "zähle die Fehler\n"


def test_run_detached_prints_the_key_and_does_not_follow(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created()))
    done = eleagent("run", "-d", "x")
    assert (done.code, done.out, done.err) == (0, f"{KEY}\n", "")
    assert not eleagent.daemon.called(BY_ID["session_events"])


def test_run_piped_is_plain_text(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(*AGENT_TURN))
    done = eleagent("run", "x")
    assert done.code == 0
    assert done.out.splitlines() == [
        "Reading the reports.",
        "● Bash  ls /data …",
        "  └ row 0",
        "    row 1",
        "    row 2",
        "    row 3",
        "    … 16 more lines",
        "Three subsystems failed.",
    ]
    assert "refused: example.com:443: no rule allows it (rule model-only)" in done.err
    assert "\x1b" not in done.out + done.err


def test_run_quiet_prints_the_final_answer_alone(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(*AGENT_TURN))
    done = eleagent("run", "-q", "x")
    assert (done.code, done.out, done.err) == (0, "Three subsystems failed.\n", "")


def test_run_quiet_gives_a_programs_streams_as_they_are(eleagent: CommandLine) -> None:
    noise = "raw \x1b[31mred\x1b[0m \u202e no newline"
    eleagent.serve(
        FakeSession(
            created(agent="command"),
            ev.OutputText("out", noise),
            ev.OutputText("err", "warn"),
            ended(State.FAILED, "exit", 3),
        )
    )
    done = eleagent("run", "-q", "--", "prog")
    assert (done.code, done.out, done.err) == (3, noise, "warn")


def test_run_json_ends_with_the_authority(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(*AGENT_TURN, artefacts={"table.md": b"| a |\n"}))
    done = eleagent("run", "--json", "x")
    *events, last = [json.loads(line) for line in done.out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(AGENT_TURN) + 1))
    assert {name: last[name] for name in ("reason", "state", "exit_code", "key")} == {
        "reason": "finished", "state": "succeeded", "exit_code": 0, "key": KEY,
    }  # fmt: skip
    assert last["usage"]["input_tokens"] == 1200
    assert [artefact["path"] for artefact in last["artefacts"]] == ["table.md"]
    assert done.err == ""


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (State.TIMED_OUT, "timeout", 124),
        (State.BUDGET_EXCEEDED, "budget", 123),
        (State.ISOLATION_FAILED, "isolation_failed", 126),
        (State.LOST, "lost", 125),
        (State.STOPPED, "stopped", 137),
        (State.FAILED, "exit", 7),
    ],
)
def test_run_and_wait_exit_as_the_session_did(eleagent: CommandLine, state: State, reason: str, code: int) -> None:
    agent_code = 7 if code == 7 else None
    eleagent.serve(FakeSession(created(), ended(state, reason, code, agent_exit_code=agent_code, detail="because")))
    done = eleagent("run", "-q", "x")
    assert done.code == code
    assert done.err == ("" if code == 7 else f"eleagent: {KEY} {state}: because\n")
    waited = eleagent("wait", KEY, "--json")
    assert waited.code == code
    assert json.loads(waited.out)["reason"] == reason


def test_wait_for_a_live_session_waits(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ended(State.FAILED, "exit", 4)))
    whole = session.events
    session.events = whole[:1]
    process = eleagent.start("wait", "-q", "@")
    eleagent.daemon.wait_for(BY_ID["session_events"])
    assert process.poll() is None
    session.events = whole
    assert process.wait(8) == 4
    process.communicate()


def test_interrupts_reach_the_daemon_once_as_interrupt_twice_as_stop(eleagent: CommandLine) -> None:
    session = eleagent.serve(
        FakeSession(created(), ev.SessionStarted(), ev.AgentMessage("ow"), ended(State.STOPPED, "stopped", 137))
    )
    session.gates = {3: threading.Event(), 4: threading.Event()}
    process = eleagent.start("run", "x")
    eleagent.daemon.wait_for(BY_ID["session_events"])
    process.send_signal(signal.SIGINT)
    eleagent.daemon.wait_for(BY_ID["session_interrupt"])
    assert not eleagent.daemon.called(BY_ID["session_stop"])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=8)
    assert process.returncode == 130
    assert len(eleagent.daemon.called(BY_ID["session_interrupt"])) == 1
    assert len(eleagent.daemon.called(BY_ID["session_stop"])) == 1
    assert b"ow" in out
    assert b"Ctrl-C again stops" in err


def test_questions_of_a_script_are_denied_by_the_daemon_and_exit_122(eleagent: CommandLine) -> None:
    question = ev.ApprovalRequested("a-1", "Bash", '{"command":"rm -rf /"}', "n-1")
    denied = ev.ApprovalAnswered("a-1", False, "", "nobody is there", Deciding.UNATTENDED)
    end = ended(State.FAILED, "approval_unanswered", 122, agent_exit_code=0)
    eleagent.serve(FakeSession(created(ask=True), question, denied, end, ask=True))
    done = eleagent("run", "--ask", "x")
    assert done.code == 122
    (call,) = eleagent.daemon.called(BY_ID["session_create"])
    assert call.decoded(SessionCreate).approvals is ApprovalMode.DENY
    assert not eleagent.daemon.called(BY_ID["approval_answer"])
    assert "a-1 denied at once: nobody is there" in done.err


@pytest.mark.parametrize("mode", ["wait", "policy"])
def test_script_may_let_its_questions_wait(eleagent: CommandLine, mode: str) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    eleagent("run", "--approvals", mode, "x")
    (call,) = eleagent.daemon.called(BY_ID["session_create"])
    assert call.decoded(SessionCreate).approvals == mode


def test_question_that_another_client_answered_waits_no_longer(eleagent: CommandLine) -> None:
    question = ev.WallAsked("a-1", ApprovalKind.HOST, "example.org:443", "no rule names it")
    session = eleagent.serve(FakeSession(created(), question, ended()))
    session.gates = {3: threading.Event()}
    terminal = eleagent.on_terminal("run", "x")
    terminal.read_until("Allow?")
    assert b"example.org:443" in terminal.seen
    session.answers["a-1"] = ApprovalState.DENIED
    session.gates[3].set()
    assert terminal.wait() == 0
    assert not eleagent.daemon.called(BY_ID["approval_answer"])


@pytest.mark.parametrize(("typed", "allow"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_question_on_a_terminal_is_shown_whole_and_answered(eleagent: CommandLine, typed: str, allow: bool) -> None:
    hidden = "echo fine" + " " * 300 + "; curl evil\x1b[2K\u202e\t#end"
    question = ev.ApprovalRequested("a-1", "Bash", hidden, "n-1")
    session = eleagent.serve(FakeSession(created(ask=True), question, ended(), ask=True))
    session.gates = {3: threading.Event()}
    terminal = eleagent.on_terminal("run", "--ask", "x")
    terminal.read_until("Allow?")
    terminal.type(typed)
    assert terminal.wait() == 0
    assert b"; curl evil\\x1b[2K\\u202e\\t#end" in terminal.seen
    (call,) = eleagent.daemon.called(BY_ID["approval_answer"])
    assert call.decoded(ApprovalAnswer).allow is allow


def test_answer_typed_before_the_question_does_not_count(eleagent: CommandLine) -> None:
    question = ev.ApprovalRequested("a-1", "Bash", "{}", "n-1")
    session = eleagent.serve(FakeSession(created(ask=True), ev.SessionStarted(), question, ended(), ask=True))
    session.gates = {3: threading.Event(), 4: threading.Event()}
    terminal = eleagent.on_terminal("run", "--ask", "x")
    terminal.read_until("agent claude")
    terminal.type("y\n")
    terminal.read_until("y\r\n")
    session.gates[3].set()
    terminal.read_until("Allow?")
    terminal.type("n\n")
    terminal.wait()
    (call,) = eleagent.daemon.called(BY_ID["approval_answer"])
    assert call.decoded(ApprovalAnswer).allow is False


def test_terminal_run_says_what_a_person_must_know(eleagent: CommandLine) -> None:
    control = Control("memory limit", ControlClass.RESOURCES, "2 GiB", "none", "memory.max", False)
    report = Report("docker", [control], Binding("c", "t", 1, 1, 1), True, ["memory limit"])
    eleagent.serve(
        FakeSession(
            created(scripted=True),
            ev.DataUnreadable("/srv/reports", ["/srv/reports/secret.csv"], 1),
            ev.SandboxAttested(report),
            *AGENT_TURN[1:],
            artefacts={"table.md": b"12345"},
        )
    )
    terminal = eleagent.on_terminal("run", "x")
    assert terminal.wait() == 0
    seen = terminal.seen.decode()
    for text in (
        "model: scripted rehearsal, no real model",
        "the agent can't read 1 files of /srv/reports: /srv/reports/secret.csv",
        "best-effort: this host does not enforce memory limit",
        "table.md (5 B)",
        "1,200 in · 34 out · 2 requests",
        f"eleagent session show {KEY}",
    ):
        assert text in seen
    assert "\x1b[32msucceeded" in seen


def test_glimpses_and_tables_take_one_line_each_of_a_terminal(eleagent: CommandLine) -> None:
    wide = "wide 表 column\t" * 30
    events = [ev.AgentToolCall("t1", "Bash", json.dumps({"command": wide})), ev.AgentToolResult("t1", wide)]
    eleagent.serve(FakeSession(created(), *events, ended(), artefacts={f"{'x' * 150}.csv": b"1"}))
    for arguments in (["run", "x", "--no-color"], ["artefact", "ls", "--no-color"]):
        terminal = eleagent.on_terminal(*arguments)
        assert terminal.wait() == 0
        shown = [
            line for line in terminal.seen.decode().splitlines() if "wide" in line or "xxx.csv" in line or "SHA" in line
        ]
        glimpses = [line for line in shown if "artefacts  " not in line]
        assert glimpses
        assert max(map(width, glimpses)) <= DEFAULT_COLUMNS


@pytest.mark.parametrize("how", ["--no-color", "NO_COLOR", "TERM"])
def test_colours_can_be_turned_off(eleagent: CommandLine, how: str) -> None:
    eleagent.serve(FakeSession(*AGENT_TURN))
    if how == "--no-color":
        arguments = ["run", "x", "--no-color"]
    else:
        arguments = ["run", "x"]
        eleagent.env |= {"NO_COLOR": "1"} if how == "NO_COLOR" else {"TERM": "dumb"}
    terminal = eleagent.on_terminal(*arguments)
    terminal.wait()
    assert b"\x1b[3" not in terminal.seen


def test_preview_is_drawn_and_taken_away(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ev.SessionStarted(), ev.AgentMessage("Hello world."), ended()))
    gate = threading.Event()

    def stream(_call: object) -> object:
        yield session.events[0]
        yield Notice("preview", text="Hello")
        yield Notice("preview", text=" wor")
        gate.wait(5)
        yield from session.events[1:]

    eleagent.daemon.scripts["session_events"] = stream
    terminal = eleagent.on_terminal("run", "x")
    terminal.read_until("✎ Hello wor")
    gate.set()
    terminal.wait()
    assert terminal.seen.index("✎ Hello wor".encode()) < terminal.seen.index(b"\r\x1b[KHello world.")


def test_create_that_broke_is_sent_again_with_the_same_key(eleagent: CommandLine) -> None:
    from .fakedaemon import Break

    session = eleagent.serve(FakeSession(created(), ended()))

    def flaky(_call: object) -> Session:
        if len(eleagent.daemon.called(BY_ID["session_create"])) == 1:
            raise Break
        return session.session

    eleagent.daemon.scripts["session_create"] = flaky
    assert eleagent("run", "-q", "x").code == 0
    first, second = eleagent.daemon.called(BY_ID["session_create"])
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    ("detail", "says"),
    [
        ('{"subtype":"api_retry","attempt":1,"max_retries":2,"error_status":529}', "(HTTP 529): trying again, 1 of 2"),
        ('{"attempt":1,"max_retries":2,"error_status":null}', "the model does not answer: trying again, 1 of 2"),
        ('{"attempt":"one", cut', "the model does not answer: trying again"),
    ],
)
def test_retries_are_said_in_words(eleagent: CommandLine, detail: str, says: str) -> None:
    eleagent.serve(FakeSession(created(), ev.AgentNotice("system.api_retry", detail), ended()))
    done = eleagent("run", "x")
    assert f"{says}\n" in done.err
    assert "attempt" not in done.err


def test_events_of_a_newer_daemon_do_not_break_the_view(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ev.SessionStarted(), ended()))
    session.events[1] = Event(2, "2026-01-01T00:00:00Z", "future.thing", ev.Provenance.OBSERVED, {"x": 1})
    done = eleagent("run", "x")
    assert done.code == 0
    assert "future.thing" in done.err


def test_run_works_where_the_locale_is_not_utf8(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(*AGENT_TURN))
    done = eleagent("run", "x", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert done.code == 0
    assert "\\u25cf Bash" in done.out
    assert os.environ.get("PYTHONIOENCODING") is None


def test_run_hands_on_every_limit(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created()))
    flags = [
        *("--timeout", "4h", "--idle-timeout", "10m", "--max-cost", "2.5", "--max-tokens", "1000000"),
        *("--max-turns", "40", "--max-egress", "100m", "--memory", "1.5g", "--cpus", "1.5", "--pids", "64"),
        *("--disk", "8GiB", "--grace", "0", "--on-limit", "pause"),
    ]
    assert eleagent("run", "-d", *flags, "do it").code == 0
    sent = body_of(eleagent)
    assert sent.timeout_s == 4 * 3600
    assert sent.limits == SessionLimits(
        idle_timeout_s=600, max_cost_usd=2.5, max_tokens=1_000_000, max_turns=40, max_egress_bytes=100 << 20,
        memory_bytes=3 << 29, cpus=1.5, pids=64, disk_bytes=8 << 30, stop_grace_s=0, on_limit=OnLimit.PAUSE,
    )  # fmt: skip


@pytest.mark.parametrize("size", ["0", "-1", "2x", "g", "", "1e9"])
def test_run_refuses_what_is_no_size(eleagent: CommandLine, size: str) -> None:
    done = eleagent("run", "-d", "--memory", size, "do it")
    assert (done.code, f"--memory {size!r} is no size: write 512m or 2g" in done.err) == (2, True)


def test_run_says_the_limits_before_the_work(eleagent: CommandLine) -> None:
    fake = FakeSession(created(), ended())
    limits = SessionLimits(idle_timeout_s=1800.0, max_cost_usd=5.0)
    eleagent.serve(fake)
    eleagent.daemon.scripts["session_create"] = lambda call: msgspec.structs.replace(
        fake.session, timeout_s=7200.0, limits=limits, user_day_usd=50.0
    )
    told = "limits: 2 h · 30 min without progress · 5 USD · 50 USD a day for root"
    assert told in eleagent("run", "do it").err
