"""Does a session live as promised, from the command line through daemon and launcher to the sandbox and back?"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eleagent.version import VERSION_HEADER, __version__

pytestmark = pytest.mark.engine


def run_json(daemon, *arguments, timeout=60.0):
    done = daemon.cli("run", "--json", *arguments, timeout=timeout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done, lines[:-1], lines[-1]


def test_program_output_and_exit_code_are_its_own(daemon):
    done = daemon.cli("run", "-q", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_program_timeline_tells_the_whole_life_in_order(daemon):
    done, events, last = run_json(daemon, "--", "sh", "-c", "echo hi > /artefacts/x.txt")
    types = [event["type"] for event in events]
    order = [
        "session.created", "session.starting", "sandbox.attested", "doors.opened", "session.started",
        "artefact.stored", "session.ended",
    ]  # fmt: skip
    assert [one for one in types if one in order] == order
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (last["state"], last["reason"], last["exit_code"], done.returncode) == ("succeeded", "exited", 0, 0)


def test_artefacts_come_out_by_cat_cp_and_dash_o(daemon, tmp_path):
    _, _, last = run_json(
        daemon, "-o", str(tmp_path / "o"), "--", "sh", "-c", "mkdir /artefacts/d; printf abc > /artefacts/d/f"
    )
    key = last["key"]
    assert (tmp_path / "o" / "d" / "f").read_text() == "abc"
    assert daemon.cli("artefact", "cat", key, "d/f").stdout == "abc"
    assert daemon.cli("cp", f"{key}:d/f", str(tmp_path / "copy")).returncode == 0
    assert (tmp_path / "copy").read_text() == "abc"


def test_data_is_readable_and_read_only(daemon, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("value")
    tmp_path.chmod(0o755)
    done = daemon.cli(
        "run", "-q", "--data", str(tmp_path / "data"), "--", "sh", "-c", "cat /data/a.txt; echo x > /data/a.txt"
    )
    assert done.stdout == "value"
    assert "Read-only file system" in done.stderr


def test_unreadable_files_are_listed_before_the_start(daemon, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.txt").write_text("x")
    (tmp_path / "data" / "secret.txt").chmod(0o600)
    _, events, last = run_json(daemon, "--data", str(tmp_path / "data"), "--", "true")
    (unreadable,) = [event for event in events if event["type"] == "data.unreadable"]
    assert unreadable["data"]["count"] == 1
    assert unreadable["data"]["paths"][0].endswith("secret.txt")
    session = daemon.json("session", "show", last["key"], "--json")["session"]
    assert session["unreadable"] == unreadable["data"]["paths"]
    assert unreadable["seq"] < next(event["seq"] for event in events if event["type"] == "session.started")


def test_timeout_ends_the_session_with_124(daemon):
    done, _, last = run_json(daemon, "--timeout", "1", "--", "sleep", "60")
    assert (done.returncode, last["state"], last["reason"]) == (124, "timed_out", "timed_out")


def test_stop_ends_a_program_that_ignores_sigterm(daemon):
    key = daemon.cli("run", "-d", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done").stdout.strip()
    daemon.wait_for(key, "session.started")
    assert daemon.cli("stop", key).returncode == 0
    done = daemon.cli("wait", key)
    events = daemon.wait_for(key, "session.ended")
    assert done.returncode == 137
    assert events[-1]["data"]["state"] == "stopped"
    assert "root" in events[-1]["data"]["detail"]


def test_out_of_memory_is_named(daemon):
    words = "b = []\nwhile True: b.append(bytearray(64 << 20))"
    done, _, last = run_json(daemon, "--", "python3", "-c", words)
    assert (done.returncode, last["reason"]) == (137, "out_of_memory")


def test_ten_megabytes_on_one_line_and_invalid_utf8_arrive(daemon):
    words = "import sys; o = sys.stdout.buffer; o.write(b'x' * (10 << 20)); o.write(b'\\xff\\xfe end')"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "-q", "--", "python3", "-c", words],
        env=daemon.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"x" * (10 << 20) + "\ufffd\ufffd end".encode()


def test_interrupt_reaches_the_program(daemon):
    words = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "-q", "--", "sh", "-c", words],
        env=daemon.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert "caught" in out


def test_idempotency_key_returns_the_first_session(daemon):
    """curl as any client: the same key twice is one session."""
    body = json.dumps({"agent": "command", "argv": ["true"]})
    curl = [
        "curl", "-sS", "--unix-socket", str(daemon.socket), "-H", "Content-Type: application/json",
        "-H", "Idempotency-Key: once", "-H", f"{VERSION_HEADER}: {__version__}", "-d", body, "http://localhost/v1/sessions",
    ]  # fmt: skip
    keys = [json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)["key"] for _ in range(2)]
    assert keys[0] == keys[1]
    assert daemon.cli("wait", keys[0]).returncode == 0


def test_environment_reaches_the_program_and_ours_may_not_be_changed(daemon):
    assert daemon.cli("run", "-q", "-e", "COLOUR=blue", "--", "sh", "-c", "echo $COLOUR").stdout == "blue\n"
    done = daemon.cli("run", "-q", "-e", "HTTPS_PROXY=http://x", "--", "true")
    assert done.returncode == 2
    assert "HTTPS_PROXY" in done.stderr


def test_nothing_is_left_of_an_ended_session(daemon, docker_socket):
    _, _, last = run_json(daemon, "--", "true")
    listed = subprocess.run(
        [
            "docker", "-H", f"unix://{docker_socket}",
            "ps", "-aq", "--filter", f"label=io.eleagent.session={last['key']}",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout == ""
    left = (daemon.home / "launcher").rglob(f"*{last['key']}*")
    assert {path.parent.name for path in left} == {"disks"}, "but for the disk, which is kept for resume"
    assert last["key"] not in Path("/proc/self/mounts").read_text()


def test_audit_has_intent_and_outcome_around_each_act(daemon):
    _, _, last = run_json(daemon, "--", "true")
    records = daemon.json("audit", "ls", "--json")["records"]
    intents = {record["seq"]: record for record in records if record["phase"] == "intent"}
    ours = [one for one in records if one.get("session") == last["key"]]
    outcome = next(one for one in ours if one["phase"] == "outcome")
    assert intents[outcome["intent"]]["action"] == "session.create"
    ended = next(one for one in ours if one["action"] == "session.ended")
    assert len(ended["details"]["timeline_head"]) == 64


def test_session_show_prints_every_control_with_its_source(daemon):
    _, _, last = run_json(daemon, "--", "true")
    detail = daemon.json("session", "show", last["key"], "--json")
    controls = {control["name"]: control for control in detail["report"]["controls"]}
    assert detail["report"]["complete"]
    assert all(control["ok"] and control["source"] for control in controls.values())
    assert {"user", "capabilities", "seccomp", "network", "memory", "disk"} <= set(controls)
    assert "seccomp" in daemon.cli("session", "show", last["key"]).stdout


def test_daemon_idle_time_leaves_no_zombies(daemon):
    parents = {daemon.parent.pid, *daemon.pids("eleagent_daemon.launcher.main")}
    zombies = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and (entry / "stat").exists()
        and _state_and_parent(entry) in {("Z", pid) for pid in parents}
    ]
    assert zombies == []


def _state_and_parent(entry: Path) -> tuple[str, int]:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[1])
