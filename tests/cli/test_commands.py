"""Does each other command ask the right thing and show the answer?"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from eleagent.cli.main import ALIASES, COMMANDS
from eleagent.operations.table import BY_ID
from eleagent.version import __version__
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent, AgentList, AgentLock, BuildStep, Image, ImageBuild, ImageList
from eleagent.wire.attestation import Binding, Control, ControlClass, Report
from eleagent.wire.audit import AuditEntry, AuditList, AuditProofs, AuditRecord, LogHead, LogProof, ProvenRecord
from eleagent.wire.limits import LimitsUpdate, SessionLimits, UsageBy, UsageReport, UsageRow
from eleagent.wire.sessions import Accepted, InputAccepted, SessionDetail, SessionInput, SessionList, SessionRename
from eleagent.wire.states import State
from eleagent.wire.system import Doctor, Finding, Status

from .conftest import CommandLine
from .fakedaemon import KEY, NOW, Call, FakeSession, created, ended
from .fakelog import FakeLog

STATUS = Status(
    version="0.1.0", installation="i", pid=7, user="eleagent", caller="root", role="owner", started=NOW, home="/h",
    runtime="docker", engine="Docker Engine 20.10", launcher="ok", model="none", sessions_live=1, sessions_queued=0,
    slots=8, audit_records=3, audit_head="ab",
)  # fmt: skip
IMAGE = Image("eleagent/claude:1", "sha256:abc", 600_000_000, NOW)


def test_help_names_every_command(eleagent: CommandLine) -> None:
    done = eleagent("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert f"  {name} " in done.out


@pytest.mark.parametrize("name", [*COMMANDS, *ALIASES])
def test_every_command_has_help(eleagent: CommandLine, name: str) -> None:
    assert "Usage: eleagent" in eleagent(name, "--help").out


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_version_flag_says_what_the_command_says(eleagent: CommandLine, json_flag: list[str]) -> None:
    by_flag, by_command = eleagent("--version", *json_flag), eleagent("version", *json_flag)
    assert (by_flag.code, by_flag.err, by_flag.out) == (0, "", by_command.out)
    assert __version__ in by_flag.out


def test_version_flag_loads_no_other_command() -> None:
    code = (
        "import sys; sys.argv = ['eleagent', '--version']; from eleagent.cli.main import main; main(); "
        "print(*(name for name in sys.modules if name.startswith(('msgspec', 'eleagent.'))))"
    )
    said, loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said == f"eleagent {__version__}"
    assert sorted(loaded.split()) == [
        "eleagent.cli", "eleagent.cli.invocation", "eleagent.cli.main", "eleagent.cli.screen", "eleagent.cli.version",
        "eleagent.errors", "eleagent.textsafe", "eleagent.version",
    ]  # fmt: skip


def test_noun_without_a_verb_shows_its_help(eleagent: CommandLine) -> None:
    done = eleagent("session")
    assert done.code == 2
    assert "interrupt" in done.err


def test_ps_shows_the_place_in_the_queue(eleagent: CommandLine) -> None:
    queued = msgspec.structs.replace(FakeSession(created()).session, state=State.QUEUED, queue_position=3)
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([queued])
    assert "queued (place 3)" in eleagent("ps").out


def test_ps_lists_and_is_what_a_pipe_gets_without_a_command(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([FakeSession(created()).session])
    done = eleagent("ps")
    assert done.out.splitlines()[0].split() == ["KEY", "NAME", "STATE", "AGENT", "AGE", "TITLE"]
    assert done.out.splitlines()[1].split()[:4] == [KEY, "able-otter", "running", "claude"]
    assert eleagent().out == done.out
    assert eleagent("ps", "-q").out == f"{KEY}\n"
    assert eleagent.daemon.calls[0].query == {}
    eleagent("session", "ls", "-a", "-n", "5")
    assert eleagent.daemon.calls[-1].query == {"all": "true", "limit": "5"}


def test_no_command_on_a_terminal_opens_the_full_screen_client(eleagent: CommandLine) -> None:
    terminal = eleagent.on_terminal()
    terminal.read_until("Sessions")
    terminal.type("q")
    assert terminal.wait() == 0
    assert b"\x1b[?1049l" in terminal.seen


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"], ["--json", "status", "--no-color"]])
def test_global_flags_stand_before_and_after(eleagent: CommandLine, arguments: list[str]) -> None:
    eleagent.daemon.scripts["status"] = lambda call: STATUS
    assert msgspec.json.decode(eleagent(*arguments).out, type=Status) == STATUS


def test_host_flag_goes_after_the_command_too(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["status"] = lambda call: STATUS
    host = eleagent.env.pop("ELEAGENT_HOST")
    assert "Docker Engine 20.10" in eleagent("status", "--host", host).out


def test_session_show_prints_the_proof(eleagent: CommandLine) -> None:
    controls = [
        Control("capabilities", ControlClass.CONFINEMENT, "none", "none", "/proc/PID/status", True),
        Control("memory", ControlClass.RESOURCES, "2 GiB", "unlimited", "memory.max", False),
    ]
    report = Report("docker", controls, Binding("0123456789abcdef", NOW, 42, 4711, 4026531992), True, ["memory"])
    session = eleagent.serve(
        FakeSession(
            created(),
            ev.EgressModel(True, "model", "POST", "/v1/messages", 200, bytes_up=1000, bytes_down=50),
            ev.EgressTunnel(False, "model-only", "evil.example", 443),
            ev.EgressTunnel(False, "model-only", "evil.example", 443),
            ev.SecurityFinding("forged_echo", "an input that nobody sent"),
            ended(),
        )
    )
    eleagent.daemon.scripts["session_get"] = lambda call: SessionDetail(session=session.session, report=report)
    done = eleagent("session", "show", "@")
    text = " ".join(done.out.split())
    assert "isolation complete 1 of 2 controls as asked · docker" in text
    assert "sandbox 0123456789ab" in text
    assert "capabilities yes none none /proc/PID/status" in text
    assert "memory NO 2 GiB unlimited memory.max" in text
    assert "best-effort this host does not enforce memory" in text
    assert "1 model requests · no tunnels · 2 refused · 1,000 bytes up, 50 down" in text
    assert "refused 2 x evil.example:443" in text
    assert "finding forged_echo: an input that nobody sent" in text
    document = json.loads(eleagent("session", "show", "--json").out)
    assert document["report"]["binding"]["pid"] == 42
    assert document["egress"]["refused"] == {"evil.example:443": 2}


def test_stop_interrupt_and_send_reach_their_sessions(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    eleagent.daemon.scripts["session_input"] = lambda call: InputAccepted("i-1", 5)
    assert eleagent("stop", "one", "two").code == 0
    assert [call.path["key"] for call in eleagent.daemon.called(BY_ID["session_stop"])] == ["one", "two"]
    assert eleagent("session", "interrupt", "three").out == f"{KEY} running\n"
    assert eleagent("session", "send", "four", "-", stdin=b"go on").code == 0
    assert eleagent.daemon.called(BY_ID["session_input"])[0].decoded(SessionInput) == SessionInput("go on")


def test_logs_follow_to_the_end_or_stop_where_it_is(eleagent: CommandLine) -> None:
    session = eleagent.serve(FakeSession(created(), ev.AgentMessage("hello"), ended()))
    assert eleagent("logs", "-f").out == "hello\n"
    session.events = session.events[:2]
    assert eleagent("logs").out == "hello\n"
    assert [call.query.get("follow") for call in eleagent.daemon.called(BY_ID["session_events"])] == ["true", None]


def test_doctor_exits_125_when_something_does_not_work(eleagent: CommandLine) -> None:
    findings = [Finding("engine", "ok", "Docker Engine"), Finding("disk quota", "warn", "none", "mount with prjquota")]
    eleagent.daemon.scripts["doctor"] = lambda call: Doctor(findings)
    done = eleagent("doctor")
    assert done.code == 0
    assert "→ mount with prjquota" in done.out
    findings.append(Finding("image", "fail", "missing", "eleagent image build claude"))
    assert eleagent("doctor").code == 125


def test_audit_ls_pages(eleagent: CommandLine) -> None:
    record = AuditRecord(seq=4, ts=NOW, phase="intent", action="session.create", actor="root", decision="allowed")
    eleagent.daemon.scripts["audit_list"] = lambda call: AuditList([record], next=4)
    done = eleagent("audit", "ls", "--after", "3", "--session", KEY)
    assert "session.create" in done.out
    assert "--after 4" in done.err
    assert eleagent.daemon.calls[0].query == {"after": "3", "limit": "200", "session": KEY}


def test_audit_ls_shows_the_newest(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["audit_list"] = lambda call: AuditList([])
    assert eleagent("audit", "ls", "-n", "2").code == 0
    assert eleagent.daemon.calls[0].query == {"limit": "2", "newest": "true"}


def test_agents_and_images_are_listed(eleagent: CommandLine) -> None:
    agents = [Agent(name="claude", adapter="claude", image="i", needs="run: eleagent agent install claude")]
    eleagent.daemon.scripts["agent_list"] = lambda call: AgentList(agents)
    eleagent.daemon.scripts["image_list"] = lambda call: ImageList([IMAGE])
    assert "run: eleagent agent install claude" in eleagent("agent", "ls").out
    assert "600 MB" in eleagent("images", "ls").out


def test_image_build_shows_its_steps_and_its_error(eleagent: CommandLine) -> None:
    steps = [BuildStep("step 1"), BuildStep(image=IMAGE)]
    agents = [Agent(name="claude", adapter="claude", image="i")]
    eleagent.daemon.scripts["agent_list"] = lambda call: AgentList(agents)
    eleagent.daemon.scripts["image_build"] = lambda call: steps
    done = eleagent("image", "build", "claude")
    assert (done.code, done.err) == (0, "step 1\n")
    assert "sha256:abc" in done.out
    assert eleagent.daemon.called(BY_ID["image_build"])[0].decoded(ImageBuild) == ImageBuild("claude")
    steps[1] = BuildStep(error="no space left")
    assert "no space left" in (failed := eleagent("image", "build", "claude")).err
    assert failed.code == 125
    steps.pop()
    assert eleagent("image", "build", "claude").code == 125


@pytest.fixture
def binary(eleagent: CommandLine) -> bytes:
    """The binary that the scripted daemon's lock names; npm and pip are scripted too."""
    content = b"\x7fELF the real one"
    lock = AgentLock(
        "claude", "2.1.203", "linux-x64", hashlib.sha256(content).hexdigest(), len(content), "@x/claude@2", "sdk==1"
    )
    eleagent.daemon.scripts["agent_lock"] = lambda call: lock
    eleagent.daemon.scripts["agent_install"] = lambda call: Agent(name="claude", adapter="claude", image="i")
    eleagent.env |= {"PIP_NO_INDEX": "1", "PATH": f"{eleagent.folder}/bin:/usr/bin:/bin"}
    return content


def script_npm(eleagent: CommandLine, member: str, content: bytes) -> None:
    folder = eleagent.folder / "bin"
    folder.mkdir()
    (folder / "claude").write_bytes(content)
    with tarfile.open(folder / "package.tgz", "w:gz") as tar:
        tar.add(folder / "claude", member)
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\n[ "$*" = "pack --silent @x/claude@2" ] && cp {folder}/package.tgz got.tgz\n')
    npm.chmod(0o755)


def test_agent_install_takes_the_file_given(eleagent: CommandLine, binary: bytes) -> None:
    (eleagent.folder / "claude").write_bytes(binary)
    done = eleagent("agent", "install", "claude", "--from", "claude")
    assert done.code == 0
    assert eleagent.daemon.called(BY_ID["agent_install"])[0].body == binary


@pytest.mark.parametrize(("content", "says"), [(b"another", "is not claude 2.1.203"), (None, "No such file")])
def test_agent_install_refuses_another_file(
    eleagent: CommandLine, binary: bytes, content: bytes | None, says: str
) -> None:
    if content is not None:
        (eleagent.folder / "claude").write_bytes(content)
    done = eleagent("agent", "install", "claude", "--from", "claude")
    assert done.code == 2
    assert says in done.err
    assert not eleagent.daemon.called(BY_ID["agent_install"])


def test_agent_install_takes_the_npm_package(eleagent: CommandLine, binary: bytes) -> None:
    script_npm(eleagent, "package/claude", binary)
    done = eleagent("agent", "install", "claude", "-q")
    assert (done.code, done.err) == (0, "")
    assert eleagent.daemon.called(BY_ID["agent_install"])[0].body == binary


@pytest.mark.parametrize(
    ("member", "content", "says"),
    [
        ("package/claude", b"swapped", "not the one that this release names"),
        ("../package/claude", b"\x7fELF the real one", "holds no package/claude"),
    ],
)
def test_agent_install_refuses_a_swapped_package_and_says_what_to_do(
    eleagent: CommandLine, binary: bytes, member: str, content: bytes, says: str
) -> None:
    script_npm(eleagent, member, content)
    done = eleagent("agent", "install", "claude", "-q")
    assert done.code == 125
    assert says in done.err
    assert "eleagent agent install claude --from FILE" in done.err
    assert done.err.count("\n") == 1
    assert not eleagent.daemon.called(BY_ID["agent_install"])


def test_agent_install_takes_an_installed_package(eleagent: CommandLine, binary: bytes) -> None:
    package = eleagent.folder / "site/claude_agent_sdk"
    (package / "_bundled").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "_bundled/claude").write_bytes(binary)
    eleagent.env["PYTHONPATH"] = f"{eleagent.env.get('PYTHONPATH', '')}:{package.parent}"
    assert eleagent("agent", "install", "claude").code == 0
    assert eleagent.daemon.called(BY_ID["agent_install"])[0].body == binary


def test_image_build_installs_the_missing_binary_first(eleagent: CommandLine, binary: bytes) -> None:
    script_npm(eleagent, "package/claude", binary)
    agents = [Agent(name="claude", adapter="claude", image="i", installed=False)]
    eleagent.daemon.scripts["agent_list"] = lambda call: AgentList(agents)
    eleagent.daemon.scripts["image_build"] = lambda call: [BuildStep(image=IMAGE)]
    done = eleagent("image", "build", "claude")
    assert done.code == 0, done.err
    assert "claude 2.1.203 installed" in done.err
    assert [call.operation for call in eleagent.daemon.calls[-2:]] == ["agent_install", "image_build"]
    assert eleagent.daemon.called(BY_ID["agent_install"])[0].body == binary


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(eleagent: CommandLine, shell: str) -> None:
    done = eleagent("completion", shell)
    assert done.code == 0
    assert "_ELEAGENT_COMPLETE" in done.out


def test_completion_completes_words(eleagent: CommandLine) -> None:
    done = eleagent(_ELEAGENT_COMPLETE="bash_complete", COMP_WORDS="eleagent session s", COMP_CWORD="2")
    assert set(done.out.split()) == {"plain,show", "plain,send"}


def test_daemon_and_config_become_the_daemons_modules(eleagent: CommandLine, tmp_path: Path) -> None:
    package = tmp_path / "stand-in/eleagent_daemon"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("daemonctl", "config"):
        (package / f"{name}.py").write_text("import sys, os; print(sys.argv[1:], os.getpid()); sys.exit(3)")
    eleagent.env["PYTHONPATH"] = f"{package.parent}:{eleagent.env.get('PYTHONPATH', '')}"
    process = subprocess.Popen(
        eleagent.command("daemon", "run", "--slots", "3", "-d"), stdout=subprocess.PIPE, env=eleagent.env, text=True
    )
    assert process.communicate()[0].strip() == f"['run', '--slots', '3', '-d'] {process.pid}"
    assert process.returncode == 3
    assert eleagent("--json", "config", "show").out.startswith("['show', '--json']")
    assert "--detach" in eleagent("daemon", "run", "--help").out


def test_version_asks_no_daemon(eleagent: CommandLine) -> None:
    assert eleagent("version").out.startswith("eleagent 0.")
    assert not eleagent.daemon.calls


@pytest.mark.parametrize("arguments", [["--help"], ["ps"]])
def test_quick_commands_import_nothing_heavy(eleagent: CommandLine, arguments: list[str]) -> None:
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([FakeSession(created()).session])
    command = [sys.executable, "-X", "importtime", *eleagent.command(*arguments)[1:]]
    done = subprocess.run(command, capture_output=True, text=True, env=eleagent.env, check=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {
        "rich",
        "aiohttp",
        "asyncio",
        "textual",
        "http.client",
        "ssl",
        "hashlib",
        "subprocess",
        "eleagent.cli.run",
    }


def test_quick_commands_cost_little(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([])
    costs = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        eleagent("ps")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # make bench holds it to 100 ms; here a busy machine is allowed for.
    assert min(costs) < 0.25


USED = UsageRow(
    name="ada", sessions=2, requests=5, input_tokens=1200, output_tokens=34, cache_read_tokens=0,
    cache_write_tokens=0, cost_usd=1.5, unpriced_tokens=0, estimated=0,
)  # fmt: skip
OTHER = msgspec.structs.replace(USED, name="=cmd()", unpriced_tokens=9, estimated=1)


def a_report(*rows: UsageRow) -> UsageReport:
    return UsageReport(
        by=UsageBy.USER, since="2026-01-01", until="2026-01-31", prices="list of 2026", rows=list(rows),
        total=msgspec.structs.replace(OTHER, name="", cost_usd=3.0),
    )  # fmt: skip


def test_usage_is_a_table_a_csv_and_a_document(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["usage"] = lambda call: a_report(USED, OTHER)
    done = eleagent("usage", "--by", "model", "--since", "2026-01-01")
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["USER", "SESSIONS", "REQUESTS"]
    assert lines[1].split() == ["ada", "2", "5", "1,200", "34", "0", "0", "1.50"]
    assert lines[2].split()[-1] == "1.50+"
    assert lines[3].split()[0] == "all"
    assert "list of 2026" in done.err
    assert "9 tokens are of models without a known price" in done.err
    assert "1 requests were broken off" in done.err
    assert eleagent.daemon.calls[-1].query == {"by": "model", "since": "2026-01-01"}
    text = eleagent("usage", "--csv").out.splitlines()
    assert text[0].startswith("user,sessions,requests,input_tokens")
    assert text[2].startswith("'=cmd(),"), "a spreadsheet runs no formula of a name"
    assert json.loads(eleagent("usage", "--json").out)["total"]["cost_usd"] == 3.0


def test_usage_without_any_says_so_and_a_bad_day_is_refused(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["usage"] = lambda call: a_report()
    assert "nothing was used from 2026-01-01 to 2026-01-31" in eleagent("usage", "--since", "7d").err
    assert len(eleagent.daemon.calls[-1].query["since"]) == len("2026-01-31")
    assert "'soon' is no day: write 2026-01-31, or 7d" in eleagent("usage", "--since", "soon").err


def test_session_limit_changes_what_is_named(eleagent: CommandLine) -> None:
    session = msgspec.structs.replace(
        FakeSession(created()).session, limits=SessionLimits(max_cost_usd=10.0, idle_timeout_s=1800), timeout_s=7200.0
    )
    eleagent.daemon.scripts["session_limits"] = lambda call: session
    done = eleagent("session", "limit", KEY, "--max-cost", "10", "--timeout", "2h", "--max-egress", "1g")
    assert "limits: 2 h · 30 min without progress · 10 USD" in done.out
    sent = eleagent.daemon.calls[-1].decoded(LimitsUpdate)
    assert sent == LimitsUpdate(max_cost_usd=10.0, timeout_s=7200.0, max_egress_bytes=1 << 30)
    nothing = eleagent("session", "limit", KEY)
    assert (nothing.code, "say which limit" in nothing.err) == (2, True)


def test_session_pause_and_unpause_take_several(eleagent: CommandLine) -> None:
    for verb, state in (("pause", State.PAUSED), ("unpause", State.RUNNING)):
        eleagent.daemon.scripts[f"session_{verb}"] = lambda call, state=state: Accepted(call.path["key"], state)
        assert eleagent("session", verb, KEY, KEY).out.splitlines() == [f"{KEY} {state}"] * 2


def test_session_rename_says_what_it_is_called_now(eleagent: CommandLine) -> None:
    session = msgspec.structs.replace(FakeSession(created()).session, name="nightly")
    eleagent.daemon.scripts["session_rename"] = lambda call: session
    assert eleagent("session", "rename", KEY, "nightly").out == f"{KEY}  nightly\n"
    assert eleagent.daemon.calls[-1].decoded(SessionRename) == SessionRename("nightly")


def test_audit_tail_show_and_export_read_the_same_records(eleagent: CommandLine) -> None:
    record = AuditRecord(
        seq=4, ts=NOW, phase="event", action="egress.tunnel", actor="s-a", decision="denied",
        details={"host": "=cmd|x.example", "port": "443"},
    )  # fmt: skip
    eleagent.daemon.scripts |= {
        "audit_list": lambda call: AuditList([record], next=4 if call.query.get("after") == "0" else None),
        "audit_get": lambda call: AuditEntry(record, '{"seq":4}', "eleagent/x/1", "c2sp.org/tlog-proof@v1\n"),
    }
    assert "host==cmd|x.example" in eleagent("audit", "tail", "--to", "*.example", "--since", "2h").out
    assert eleagent.daemon.calls[-1].query["host"] == "*.example"
    assert eleagent.daemon.calls[-1].query["since"][:2] == "20"
    assert "egress.tunnel" in eleagent("audit", "show", "4").out
    assert eleagent("audit", "show", "4", "--proof").out == "c2sp.org/tlog-proof@v1\n"
    exported = eleagent("audit", "export", "--format", "csv").out.splitlines()
    assert exported[0].startswith("seq,ts,phase,action")
    assert len(exported) == 3, "two pages of one record"
    lines = eleagent("audit", "export", "-o", "out.jsonl")
    assert (lines.code, (eleagent.folder / "out.jsonl").stat().st_mode & 0o777) == (0, 0o600)
    assert eleagent("audit", "export", "-o", "out.jsonl").code == 125, "nothing is written over"


def test_audit_export_with_proofs_is_verified_without_a_daemon(eleagent: CommandLine) -> None:
    record = AuditRecord(seq=4, ts=NOW, phase="event", action="session.stop", actor="ada")
    log = FakeLog(entries=[msgspec.json.encode(record)])
    head = log.answer(Call("audit_head", {}, {}, {}, b""))
    proof = LogProof(origin=log.origin, note=head.note, keys=head.keys, rotations=[])
    proven = ProvenRecord(origin=log.origin, line=log.entries[0].decode(), index=0, path=[])
    eleagent.daemon.scripts["audit_prove"] = lambda call: AuditProofs([proof], [proven])
    assert eleagent("audit", "export", "--proofs", "-o", "proven.jsonl", "--actor", "ada").code == 0
    eleagent.daemon.scripts.clear()
    told = eleagent("audit", "verify", "proven.jsonl", "--key", head.keys[0])
    assert (told.code, "1 records, 4 to 4" in told.out) == (0, True)
    path = eleagent.folder / "proven.jsonl"
    path.write_text(path.read_text().replace("ada", "eve"))
    told = eleagent("audit", "verify", "proven.jsonl", "--json")
    assert (told.code, msgspec.json.decode(told.out)["record"]) == (125, 4)
    assert eleagent("audit", "export", "--proofs", "--format", "csv").code == 2


def test_audit_rotate_key_tells_the_new_one(eleagent: CommandLine) -> None:
    begun = AuditRecord(seq=1, ts=NOW, phase="event", action="audit.begun", actor="eleagentd")
    eleagent.daemon.scripts["audit_rotate_key"] = lambda call: LogHead("", ["x+old", "x+new"], 1, begun)
    assert eleagent("audit", "rotate-key").out == "key x+new\n"


def test_audit_csv_holds_no_formula(eleagent: CommandLine) -> None:
    record = AuditRecord(seq=4, ts=NOW, phase="event", action="session.stop", actor="=1+1")
    eleagent.daemon.scripts["audit_list"] = lambda call: AuditList([record])
    assert ",'=1+1," in eleagent("audit", "export", "--format", "csv").out


def test_audit_verify_needs_a_log(eleagent: CommandLine) -> None:
    (eleagent.folder / "empty").mkdir()
    done = eleagent("audit", "verify", "empty")
    assert (done.code, "holds no log" in done.err) == (125, True)
    done = eleagent("audit", "verify", "empty", "--key", "nokey")
    assert (done.code, "neither a verifier key nor a file" in done.err) == (2, True)
