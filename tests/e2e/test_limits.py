"""Does each limit hold a real session, keep what it made, and say exactly what ended it?"""

from __future__ import annotations

import json
import time

import pytest

from ..daemonfixture import CANARY_KEY, running_daemon
from .provider import provider

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

ASK = """
import json, os, sys, threading, urllib.request
def ask():
    body = json.dumps({"model": "claude-opus-4-8", "max_tokens": 8000, "messages": []}).encode()
    request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", data=body, headers={
        "x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"})
    try:
        answer = urllib.request.urlopen(request)
        answer.read()  # a request that is broken off is settled at all that it can have come to
        print(answer.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, json.load(error)["error"]["message"], flush=True)
open("/artefacts/half.txt", "w").write("half of it")
threads = [threading.Thread(target=ask) for _ in range(int(sys.argv[1]))]
for one in threads: one.start()
for one in threads: one.join()
import time; time.sleep(float(sys.argv[2]))
"""
SCRIPT = '[[step]]\ntext = "Done."\n'


def ended(own, key):
    events = own.wait_for(key, "session.ended", timeout=60)
    return events, events[-1]["data"]


def text(events):
    return "".join(event["data"]["text"] for event in events if event["type"] == "output.text")


def ask(own, tmp_path, *flags, times=3, then=30.0):
    (tmp_path / "script.toml").write_text(SCRIPT)
    command = ["--model-script", str(tmp_path / "script.toml"), "--", "python3", "-c", ASK, str(times), str(then)]
    done = own.cli("run", "-d", *flags, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("flag", "value", "limit"),
    [
        ("--max-turns", "2", "max_turns"),
        ("--max-cost", "0.0259", "max_cost_usd"),
        ("--max-tokens", "1055", "max_tokens"),
    ],
)
def test_session_is_stopped_at_its_limit_and_keeps_what_it_made(daemon, tmp_path, flag, value, limit):
    events, end = ended(daemon, ask(daemon, tmp_path, flag, value))
    assert (end["state"], end["reason"], end["exit_code"]) == ("budget_exceeded", "limit_reached", 123)
    assert f"(limit {limit})" in end["detail"]
    met = [event["data"] for event in events if event["type"] == "limit.met"]
    assert [(one["limit"], one["action"]) for one in met] == [(limit, "stop")]
    assert [event["data"]["path"] for event in events if event["type"] == "artefact.stored"] == ["half.txt"]
    stopping = next(event["data"] for event in events if event["type"] == "session.stopping")
    assert stopping["detail"] == end["detail"]


def test_session_without_progress_is_noticed_told_before_and_stopped(daemon):
    key = daemon.cli("run", "-d", "--idle-timeout", "5", "--", "sleep", "100").stdout.strip()
    events, end = ended(daemon, key)
    assert (end["state"], end["reason"], end["exit_code"]) == ("timed_out", "no_progress", 124)
    assert "the time without progress is used up" in end["detail"]
    limits = [(event["type"], event["data"]["limit"]) for event in events if event["type"].startswith("limit.")]
    assert limits[-1] == ("limit.met", "idle_timeout_s")


def test_session_that_computes_silently_makes_progress(daemon):
    busy = "import time; end = time.time() + 8\nwhile time.time() < end: pass"
    key = daemon.cli("run", "-d", "--idle-timeout", "4", "--", "python3", "-c", busy).stdout.strip()
    assert ended(daemon, key)[1]["state"] == "succeeded"


ASKING = ("--on-limit", "pause", "--approvals", "wait")


def asked(own, key, subject):
    """The only open question, once it is about this; the session stands still."""
    until = time.monotonic() + 60
    found = []
    while [one["subject"] for one in found] != [subject]:
        assert time.monotonic() < until, (found, own.events(key))
        time.sleep(0.1)
        found = own.json("approval", "ls", key, "--json")["approvals"]
    session = own.json("session", "show", key, "--json")["session"]
    assert (session["state"], session["paused_by"]) == ("paused", ["limit"])
    return found[0]["id"]


def changes(events):
    return [event["data"]["limits"]["max_turns"] for event in events if event["type"] == "limits.changed"]


def test_session_at_its_limit_asks_and_goes_on_as_far_as_it_is_allowed(daemon, tmp_path):
    key = ask(daemon, tmp_path, "--max-turns", "1", *ASKING, times=3, then=0)
    first = asked(daemon, key, "max_turns 2 turns")
    assert "is used up: 1 turns of 1 turns (limit max_turns)" in daemon.cli("approval", "show", first).stdout
    assert daemon.cli("approve", "--always", first).returncode == 2
    assert daemon.cli("approve", first).returncode == 0
    asked(daemon, key, "max_turns 4 turns")
    raised = daemon.cli("session", "limit", key, "--max-turns", "5")
    assert raised.returncode == 0, raised.stderr
    assert daemon.json("approval", "ls", key, "--json")["approvals"] == [], "another limit is an answer too"
    events, end = ended(daemon, key)
    assert (end["state"], text(events), changes(events)) == ("succeeded", "200\n" * 3, [2, 5])


def test_session_at_its_limit_is_stopped_where_more_is_denied_whoever_died_meanwhile(docker_socket, runtime, tmp_path):
    with running_daemon(docker_socket, ELEAGENT_RUNTIME=runtime) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        key = ask(own, tmp_path, "--max-turns", "1", *ASKING, times=2, then=0)
        question = asked(own, key, "max_turns 2 turns")
        own.kill("eleagent_daemon.main")
        own.answers()
        assert asked(own, key, "max_turns 2 turns") == question, "it is asked once"
        assert own.cli("deny", "--comment", "enough").returncode == 0
        _, end = ended(own, key)
        assert (end["state"], end["exit_code"], end["artefacts"]) == ("budget_exceeded", 123, 1)
        assert end["detail"].endswith("(limit max_turns); more was denied by root: enough")


def test_script_is_stopped_at_its_limit_and_never_waits_for_a_person(daemon, tmp_path):
    key = ask(daemon, tmp_path, "--max-turns", "1", "--on-limit", "pause", times=2)
    events, end = ended(daemon, key)
    assert (end["state"], end["exit_code"]) == ("budget_exceeded", 123)
    assert [event["data"]["action"] for event in events if event["type"] == "limit.met"] == ["stop"]


def test_question_about_a_limit_that_nobody_answers_ends_the_session(docker_socket, runtime, tmp_path):
    policies = tmp_path / "config.toml"
    policies.write_text("[policies.hasty]\nmodel = true\n[policies.hasty.approvals]\nexpires_s = 2\n")
    with running_daemon(docker_socket, ELEAGENT_RUNTIME=runtime, ELEAGENT_CONFIG=str(policies)) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        flags = ["--policy", "hasty", "--on-limit", "pause", "--approvals", "policy"]
        _, end = ended(own, ask(own, tmp_path, "--max-turns", "1", *flags, times=2))
        assert (end["state"], end["exit_code"]) == ("budget_exceeded", 123)
        assert end["detail"].endswith("more was denied: nobody answered in time")


HOG = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", "bytearray(400 << 20)"])
held = []
try:
    while True: held.append(subprocess.Popen(["sleep", "30"]))
except OSError: pass
try:
    with open("/workspace/full", "wb") as file:
        while True: file.write(bytes(1 << 20))
except OSError as error: print(error, flush=True)
time.sleep(24)
for one in held: one.kill()
"""


def test_sandbox_that_comes_up_against_its_ends_is_told_of_and_goes_on(daemon):
    flags = ["--memory", "128m", "--pids", "40", "--disk", "64m"]
    key = daemon.cli("run", "-d", *flags, "--", "python3", "-c", HOG).stdout.strip()
    events, end = ended(daemon, key)
    assert (end["state"], end["exit_code"]) == ("succeeded", 0), end
    told = {event["data"]["limit"]: event["data"] for event in events if event["type"] == "limit.met"}
    assert {one["action"] for one in told.values()} == {"tell"}
    assert set(told) == {"memory_bytes", "pids", "disk_bytes"}, told
    near = [event["data"]["limit"] for event in events if event["type"] == "limit.near"]
    assert {"pids", "disk_bytes"} <= set(near)


def test_sandbox_whose_processors_are_all_at_work_is_told_of(daemon):
    words = ("--cpus", "0.2", "--", "timeout", "55", "sh", "-c", "while :; do :; done")
    key = daemon.cli("run", "-d", *words).stdout.strip()
    events = daemon.wait_for(key, "limit.near", timeout=70)
    assert daemon.cli("stop", "--grace", "0", key).returncode == 0
    (near,) = [event["data"] for event in events if event["type"] == "limit.near"]
    assert (near["limit"], near["allowed"]) == ("cpus", 0.2)
    assert near["used"] >= 0.16


def test_session_whose_program_the_kernel_ends_at_its_memory_says_so(daemon):
    done = daemon.cli("run", "--json", "--memory", "64m", "--", "python3", "-c", "bytearray(400 << 20)")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last["state"], last["reason"]) == (137, "failed", "out_of_memory")
    assert last["detail"] == "the kernel killed it at its memory limit"


def test_resources_are_those_that_were_asked_for_and_not_more_than_allowed(daemon):
    flags = ["--memory", "300m", "--pids", "77", "--cpus", "0.5", "--disk", "200m"]
    done = daemon.cli("run", "--json", *flags, "--", "true")
    key = json.loads(done.stdout.splitlines()[-1])["key"]
    report = daemon.json("session", "show", key, "--json")["report"]
    asked = {control["name"]: control["asked"] for control in report["controls"]}
    assert "300 MiB" in asked["memory"], asked
    assert "77" in asked["processes"], asked
    refused = daemon.cli("run", "-d", "--memory", "999g", "--", "true")
    assert refused.returncode == 2
    assert "(setting ceilings.memory_bytes)" in refused.stderr


def test_usage_is_counted_by_the_host_and_a_users_day_ends_for_all_his_sessions(docker_socket):
    """Of two requests the first pays a cent's fortieth and leaves too little for the least that the second may need."""
    with provider(CANARY_KEY) as upstream:
        settings = {
            "ELEAGENT_MODEL_UPSTREAM": f"http://127.0.0.1:{upstream.port}", "ELEAGENT_BUDGET_USER_DAY_USD": "0.026",
        }  # fmt: skip
        with running_daemon(docker_socket, **settings) as own:
            assert own.cli("image", "build", "command", timeout=110).returncode == 0
            key = own.cli("run", "-d", "--", "python3", "-c", ASK, "2", "30").stdout.strip()
            _, end = ended(own, key)
            assert (end["reason"], end["exit_code"]) == ("limit_reached", 123)
            assert "its user's budget of the day is used up: 0.00 USD of 0.03 USD (limit user_day_usd)" in end["detail"]
            assert len(upstream.seen) == 1
            report = own.json("usage", "--by", "model", "--json")
            row = report["rows"][0]
            assert (row["name"], row["requests"], row["input_tokens"], row["output_tokens"]) == (
                "claude-opus-4-8", 1, 11, 7,
            )  # fmt: skip
            assert row["cost_usd"] == 0.000252
            assert own.cli("usage", "--csv").stdout.splitlines()[0].startswith("user,sessions")
            assert "USER" in own.cli("usage").stdout
