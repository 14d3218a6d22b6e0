"""Does nothing of an agent command the terminal, and is it left whole however the program ends? On a real one."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from eleagent.errors import EleAgentError, Unauthenticated
from eleagent.operations.approvals import APPROVAL_ANSWER
from eleagent.operations.sessions import SESSION_CREATE, SESSION_STOP
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent, AgentList
from eleagent.wire.approvals import Approval, ApprovalKind
from eleagent.wire.keys import ApiKey, ApiKeyList
from eleagent.wire.limits import UsageBy, UsageReport, UsageRow
from eleagent.wire.sessions import SessionCreate, State
from eleagent.wire.system import Doctor, Finding, Status
from eleagent.wire.users import User, UserList

from ..cli.fakedaemon import FakeDaemon
from ..cli.test_terminal_safety import FORBIDDEN, PAYLOADS
from ..cli.webdaemon import Authority, serving
from .scripted import POLICIES, REPORT, STATUS, STORY, Scene, decision, record, session
from .terminal import Terminal

OURS = re.compile(
    rb"\x1b\[[0-9;]*m"  # colours
    rb"|\x1b\[[0-9]*;[0-9]*H|\x1b\[[0-9]*[ABCD]"  # where a row begins
    rb"|\x1b\[\?(?:1049|25|7|1004|2004|1000|1003|1015|1006|2026|2048)[hl]"  # modes of Textual's driver
    rb"|\x1b\[\?(?:2026|2048)\$p|\x1b\[[<>=]1?u|\x1b\[<u|\x1b\[>[0-9]*u"
    rb"|\x1b\[c|\x1b\]22;[a-z]*\x07|[\r\n]"
    rb"|\x1b\](?:2|9);[ -~]*\x1b\\|\x07(?=\x1b\]9;)"  # how a person is called
)
"""All that the client itself may write beside text."""


@pytest.fixture
def terminal(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(daemon.path, tmp_path)
    yield opened
    opened.end()


def hostile(name: str) -> str:
    return f"{name}{PAYLOADS[name]}{name}"


def assert_clean(seen: bytes) -> None:
    for name, payload in PAYLOADS.items():
        assert f"{name}{payload}".encode() not in seen, f"{name} passed"
        assert f"{payload}{name}".encode() not in seen, f"{name} passed"
    rest = OURS.sub(b"", seen).decode()
    found = FORBIDDEN.search(rest)
    assert not found, f"{found} in {rest[max(0, found.start() - 80) : found.end() + 80]!r}"


def payloads_of(text: str) -> Iterator[ev.Payload]:
    """Every event of the catalogue with `text` in each of its texts."""
    for kind in ev.TYPES.values():
        fields = {}
        for field in msgspec.structs.fields(kind):
            fields[field.name] = _filled(field.type, text)
        if kind is ev.SandboxAttested:
            fields["report"] = REPORT
        try:
            yield msgspec.convert(fields, kind, strict=False)
        except msgspec.ValidationError as error:
            raise AssertionError(f"{kind.__name__}: {error}") from error


def _filled(kind: object, text: str) -> object:
    """A value of this type, hostile where it is a text."""
    import enum
    import types
    import typing

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _filled(arguments[0], text)
    if origin is list:
        return [_filled(arguments[0], text)]
    if origin is dict:
        return {text: _filled(arguments[1], text)}
    if kind is str:
        return text
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind)).value
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {field.name: _filled(field.type, text) for field in msgspec.structs.fields(kind)}
    return {bool: False, int: 1, float: 1.0}.get(kind)  # type: ignore[call-overload]


@pytest.mark.timeout(120)
def test_no_payload_passes_in_any_place(scene: Scene, daemon: FakeDaemon, tmp_path: Path) -> None:
    """28 kinds in each text of sessions, events, drafts, files, proofs, decisions, records, questions and errors."""
    scene.add(session(0, name="able-otter", title="The first"), *STORY[:1])
    for number, name in enumerate(PAYLOADS, 1):
        bad = hostile(name)
        one = session(
            number, name=bad, title=bad, owner=bad, agent=bad, model=bad, policy=bad, image=bad, data=[bad],
            reason=bad, artefacts=3,
        )  # fmt: skip
        scene.add(one)
        markdown = f"# {bad}\n\n[{bad}](http://a/{bad}) `{bad}`\n\n```\n{bad}\n```\n\n| {bad} |\n|---|\n| {bad} |\n"
        everything = [*payloads_of(bad), ev.AgentMessage(markdown)]
        edit = msgspec.json.encode({"file_path": bad, "old_string": bad, "new_string": bad + "x"}).decode()
        everything += [ev.AgentToolCall(id="e", name=bad, input=edit), ev.AgentToolResult(id="e", text=bad)]
        scene.say(session(0).key, *(one for one in everything if not isinstance(one, ev.SessionEnded)))
        kind = ("txt", "csv", "json")[number % 3]
        files = scene.files.setdefault(session(0).key, {})
        files[f"{bad}.{kind}"] = f"{bad},{bad}\n".encode()
        files["all.md"] = files.get("all.md", b"") + markdown.encode()
        files["all.csv"] = files.get("all.csv", b"") + f"{bad},{bad}\n".encode()
        more = {"host": bad, "rule": bad, "reason": bad, "asked": bad, "address": bad, "session": bad}
        scene.decisions.append(decision(number, allowed=False, **more))
        fields = ("action", "actor", "object", "outcome", "rule", "provenance", "behalf")
        scene.records.append(record(number, details={bad: bad}, **dict.fromkeys(fields, bad)))
        scene.approvals[f"a-{number}"] = Approval(
            id=f"a-{number}", session=bad, owner=bad, agent=bad, policy=bad, kind=ApprovalKind.TOOL, subject=bad,
            parameters=f"{bad}", why=bad, asked="2026-03-09T08:00:00Z", comment=bad,
        )  # fmt: skip
        scene.preview(session(0).key, bad)
    scene.sessions[session(0).key] = replace(scene.sessions[session(0).key], artefacts=30)
    scene.report = replace(
        REPORT,
        runtime=hostile("title"),
        controls=[
            replace(REPORT.controls[0], name=bad, asked=bad, found=bad, source=bad, ok=False)
            for bad in map(hostile, PAYLOADS)
        ],
        missing_resources=[hostile(name) for name in PAYLOADS],
    )
    terminal = Terminal(daemon.path, tmp_path, size=(200, 60))
    try:
        terminal.wait_for("able-otter")
        places = {
            "2": "\x1b[B" * 27, "3": "\x1b[B" * 27, "5": "\x1b[B" * 27 + "\r", "1": "",
        }  # fmt: skip
        for key, moves in places.items():
            terminal.type(key)
            terminal.settle()
            for move in re.findall(r"\x1b\[B|\r", moves):
                terminal.type(move)
                terminal.settle(0.03)
        terminal.settle()
        terminal.type("\x1b[F")  # the session without a payload in its name stands last or first: go there by filter
        terminal.type("/The first\r")
        terminal.settle()
        terminal.type("\r")
        terminal.settle()
        terminal.type("\x1b[H")
        terminal.settle()
        for _ in range(14):
            terminal.type("\x1b[6~")
            terminal.settle(0.05)
        terminal.type("p")
        terminal.settle()
        terminal.type("\x1b[6~\x1b[6~")
        terminal.settle()
        terminal.type("\x1b")
        terminal.settle(0.4)
        terminal.type("f")
        terminal.settle()
        for _ in range(30):
            terminal.type("\x1b[B")
            terminal.settle(0.09)
        terminal.type("\x1b[H\x1b[B\t")  # all.md, which is read to its end
        for _ in range(12):
            terminal.settle(0.09)
            terminal.type("\x1b[6~")

        def refuse(_: object) -> None:
            raise EleAgentError("".join(map(hostile, PAYLOADS)))

        daemon.scripts["artefact_get"] = daemon.scripts["session_stop"] = refuse
        terminal.type("w")
        terminal.settle()
        terminal.type("\r")
        terminal.settle()
        terminal.type("q")
        assert terminal.wait() == 0
    finally:
        terminal.end()
    assert not daemon.called(APPROVAL_ANSWER)
    assert len([name for name in PAYLOADS if name.encode() in terminal.seen]) == len(PAYLOADS)
    assert_clean(terminal.seen)


@pytest.mark.timeout(60)
def test_no_payload_passes_in_the_form_the_palette_settings_and_usage(
    scene: Scene, daemon: FakeDaemon, tmp_path: Path
) -> None:
    """What the daemon says there, what is pasted there, and what it refuses what was pasted with."""
    bad = "".join(map(hostile, PAYLOADS))
    everything = list(map(hostile, PAYLOADS))
    pasted = f"\x1b[200~{bad}\x1b[201~"
    daemon.scripts["agent_list"] = lambda _: AgentList(
        [Agent(name=one, adapter=one, image=one, version=one, needs=one) for one in everything]
    )
    daemon.scripts["doctor"] = lambda _: Doctor([Finding(one, one, one, one) for one in everything])
    daemon.scripts["user_list"] = lambda _: UserList(
        [
            User(id=one, name=one, role=one, state=one, source=one, created=one, full_name=one, unix_user=one)
            for one in everything
        ]
    )
    daemon.scripts["api_key_list"] = lambda _: ApiKeyList(
        [ApiKey(id=one, user=one, note=one, scopes=[one], created=one, expires=one, used=one) for one in everything]
    )
    rows = [UsageRow(one, 1, 1, 1, 1, 0, 0, 1.0, 0, 0) for one in everything]
    daemon.scripts["usage"] = lambda _: UsageReport(UsageBy.USER, bad, bad, bad, rows, rows[0])
    rules = replace(POLICIES.policies[1], tunnel=everything, server_tools=everything)
    named = [replace(rules, name=one) for one in everything]
    terms = replace(POLICIES.terms, mode=bad)
    daemon.scripts["policy_list"] = lambda _: replace(POLICIES, policies=named, default=bad, terms=terms)
    texts = [field.name for field in msgspec.structs.fields(Status) if field.type is str]
    daemon.scripts["status"] = lambda _: replace(STATUS, **dict.fromkeys(texts, bad))

    def refuse(_: object) -> None:
        raise EleAgentError(bad)

    daemon.scripts["session_create"] = refuse
    terminal = Terminal(daemon.path, tmp_path, size=(200, 60))
    try:
        terminal.wait_for("n starts one")
        for key in "67":
            terminal.type(key)
            terminal.settle()
            for _ in range(10):
                terminal.type("\x1b[6~")
                terminal.settle(0.05)
        terminal.type("1:")
        terminal.settle(0.4)
        terminal.type(pasted)
        terminal.settle(0.4)
        terminal.type("\x1b")
        terminal.settle(0.4)  # a key alone is one only when nothing follows for a moment
        terminal.type("n")
        terminal.wait_for("Prompt")
        terminal.settle()
        for _ in range(14):
            terminal.type(pasted)
            terminal.settle(0.05)
            terminal.type("\r")
        terminal.type("\x1b[A" * 14 + "\x15x" + "\x1b[B\x1b[B\x15" + "\x1b[B" * 4 + "\x1b[B\x15" * 8)
        terminal.type("\x13")
        terminal.settle()
        terminal.type("\x1b")
        terminal.settle(0.4)  # a key alone is one only when nothing follows for a moment
        terminal.type("q")
        assert terminal.wait() == 0
    finally:
        terminal.end()
    assert daemon.called(SESSION_CREATE)
    assert len([name for name in PAYLOADS if name.encode() in terminal.seen]) == len(PAYLOADS)
    assert_clean(terminal.seen)


def test_escape_in_a_paste_presses_no_key_and_leaves_the_client_hearing(scene: Scene, terminal: Terminal) -> None:
    scene.add(session(1), *STORY)
    terminal.wait_for("able-otter-1")
    terminal.settle()
    terminal.type("\x1b[200~ab\x1bcd\x1b[31m\x1bq\x1bx\x1b[201~")  # q leaves, x stops
    terminal.settle(0.4)
    terminal.type("/")
    terminal.type("\x1b[200~able\x1b[31m-otter\x1b[20")  # and where a slow link breaks it
    terminal.settle(0.4)
    terminal.type("1~-1")
    terminal.wait_for("able[31m-otter-1")
    terminal.type("\x15\x1b")
    terminal.settle(0.4)
    before = len(terminal.seen)
    terminal.type("?")
    terminal.wait_for("Everywhere", after=before)
    assert not scene.daemon.called(SESSION_STOP)
    terminal.type("\x03")
    assert terminal.wait() == 0


def test_no_payload_passes_where_one_logs_in(tmp_path: Path) -> None:
    bad = "".join(map(hostile, PAYLOADS))
    authority = Authority(tmp_path)
    with serving(tmp_path, authority.server_tls()) as daemon:

        def refuse(_: object) -> None:
            raise Unauthenticated(bad)

        daemon.scripts["login"] = refuse
        terminal = Terminal(
            daemon.path, tmp_path, size=(200, 60), host=daemon.url, cacert=authority.cacert,
            XDG_CONFIG_HOME=str(tmp_path / "config"),
        )  # fmt: skip
        try:
            terminal.wait_for("Log in at https://")
            terminal.type(f"\x15\x1b[200~{bad}\x1b[201~\r")
            terminal.wait_for("Password of ")
            terminal.type(f"\x1b[200~{bad}secret-that-nobody-sees\x1b[201~\r")
            terminal.wait_for("not logged in")
            terminal.settle()
            terminal.type("q")
            assert terminal.wait() == 0
        finally:
            terminal.end()
    assert b"secret-that" not in terminal.seen
    assert_clean(terminal.seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_is_left_whole_by_a_signal(scene: Scene, terminal: Terminal, number: signal.Signals) -> None:
    scene.add(session(1), *STORY)
    terminal.wait_for("able-otter-1")
    terminal.kill(number)
    terminal.wait()
    assert_whole(terminal.seen)


def test_quit_leaves_the_terminal_whole_and_says_that_sessions_go_on(scene: Scene, terminal: Terminal) -> None:
    scene.add(session(1), *STORY)
    scene.add(session(2, State.FAILED), *STORY)
    terminal.wait_for("able-otter-1")
    terminal.type("q")
    assert terminal.wait() == 0
    assert_whole(terminal.seen)
    assert not re.search(rb"\x1b\[[0-9;]*[34]8;", terminal.seen), "another theme's colours"
    assert b"1 session goes on" in terminal.seen.rpartition(b"\x1b[?1049l")[2]


def test_crash_leaves_the_terminal_whole_and_shows_no_value(scene: Scene, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import eleagent_tui.rows as rows\n"
        "def shown_line(text):\n"
        "    api_token = 'SECRETTOKEN-123456'\n"
        "    raise RuntimeError('broken \\x1b]0;PWNED\\x07 here')\n"
        "rows.shown_line = shown_line\n"
    )
    import os

    way = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    terminal = Terminal(daemon.path, tmp_path, PYTHONPATH=way)
    scene.add(session(1), *STORY)
    assert terminal.wait() == 1
    told = terminal.seen.rpartition(b"\x1b[?1049l")[2]
    assert_whole(terminal.seen)
    assert b"RuntimeError: broken \\x1b]0;PWNED\\x07 here" in told
    assert b"sessions go on" in told
    assert b"SECRETTOKEN" not in terminal.seen


def assert_whole(seen: bytes) -> None:
    for mode in (b"1049", b"2004", b"1004"):
        assert seen.rfind(b"\x1b[?%bl" % mode) > seen.rfind(b"\x1b[?%bh" % mode), f"mode {mode!r} stays on"
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l"), "the cursor stays hidden"


def test_dumb_terminal_is_refused_with_what_to_use(daemon: FakeDaemon, tmp_path: Path) -> None:
    terminal = Terminal(daemon.path, tmp_path, TERM="dumb")
    assert terminal.wait() == 2
    assert b"logs -f" in terminal.seen
    assert b"\x1b" not in terminal.seen


def test_no_colour_means_none(scene: Scene, daemon: FakeDaemon, tmp_path: Path) -> None:
    scene.add(session(1), *STORY)
    terminal = Terminal(daemon.path, tmp_path, NO_COLOR="1")
    try:
        terminal.wait_for("able-otter-1")
        terminal.type("q")
        terminal.wait()
    finally:
        terminal.end()
    colours = set(re.findall(rb"\x1b\[[0-9;]*m", terminal.seen))
    assert not [one for one in colours if re.search(rb"(?:^|;|\[)(?:3[0-7]|4[0-7]|9[0-7]|[34]8;)", one[1:-1])], colours


def test_editor_and_pager_have_the_terminal_and_give_it_back(scene: Scene, daemon: FakeDaemon, tmp_path: Path) -> None:
    scene.add(session(1), *STORY)
    for name, line in (("editor", 'printf "one\\ntwo\\n" > "$1"'), ("pager", f'cp "$1" {tmp_path}/paged')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    programs = {"EDITOR": str(tmp_path / "editor"), "VISUAL": "", "PAGER": str(tmp_path / "pager")}
    terminal = Terminal(daemon.path, tmp_path, **programs)
    try:
        terminal.wait_for("able-otter-1")
        terminal.type("\r")
        terminal.wait_for("The reports are")
        terminal.settle()
        terminal.type("v")
        terminal.until(lambda: (tmp_path / "paged").exists(), "the pager did not run")
        before = len(terminal.seen)
        terminal.wait_for("able-otter-1", after=before)
        terminal.type("1n")
        terminal.wait_for("claude: ready")
        terminal.type("\x07")
        terminal.wait_for("the prompt has 2 lines")
        terminal.type("\x13")
        terminal.until(lambda: daemon.called(SESSION_CREATE), "nothing was started")
        terminal.settle()
        terminal.type("q")
        assert terminal.wait() == 0
    finally:
        terminal.end()
    (call,) = daemon.called(SESSION_CREATE)
    assert call.decoded(SessionCreate).prompt == "one\ntwo\n"
    assert (tmp_path / "paged").read_text()
    assert_whole(terminal.seen)
