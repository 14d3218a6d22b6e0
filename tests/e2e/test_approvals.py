"""Are people asked at a session's walls, and can nothing inside answer in their place?"""

from __future__ import annotations

import time

import pytest

from ..daemonfixture import Daemon, running_daemon
from .test_claude import link_images

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

POLICIES = """
[policies.asking.approvals]
hosts = true
hold_s = 60
[policies.hasty.approvals]
hosts = true
expires_s = 2
"""

CONNECT = """
import socket
def ask(host):
    door = socket.create_connection(("127.0.0.1", 328))
    door.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
    print(door.recv(4096).decode(), flush=True)
"""

ANSWER = """
import socket
for port, target in ((810, "/v1/approvals"), (328, "/v1/approvals")):
    for method in ("GET", "POST"):
        door = socket.create_connection(("127.0.0.1", port))
        door.sendall(f"{method} {target} HTTP/1.1\\r\\nHost: eleagent\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
        print(port, method, door.recv(4096).split(b"\\r\\n")[0].decode(), flush=True)
"""


@pytest.fixture(scope="module")
def asking(daemon, docker_socket, tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(POLICIES)
    with running_daemon(docker_socket, ELEAGENT_CONFIG=str(file)) as own:
        link_images(daemon, own)
        yield own


def start(daemon: Daemon, policy: str, code: str, *more: str) -> str:
    done = daemon.cli("run", "-d", "--policy", policy, *more, "--", "python3", "-c", CONNECT + code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def opened(daemon: Daemon, key: str) -> dict:
    until = time.monotonic() + 60
    while not (found := daemon.json("approval", "ls", key, "--json")["approvals"]):
        assert time.monotonic() < until, daemon.events(key)
        time.sleep(0.1)
    return found[0]


def output(daemon: Daemon, key: str) -> str:
    return "".join(event["data"]["text"] for event in daemon.events(key) if event["type"] == "output.text")


def test_host_passes_as_far_as_a_person_lets_it(asking):
    """An allowed name is looked up, which no test of ours can do: it is told so. A denied one is a 403."""
    code = 'ask("first.invalid"); ask("first.invalid"); ask("second.invalid")'
    key = start(asking, "asking", code, "--approvals", "wait")
    first = opened(asking, key)
    assert (first["kind"], first["subject"]) == ("host", "first.invalid:443")
    assert asking.json("ps", "--json")["sessions"][0]["state"] == "waiting"
    assert asking.cli("approve", first["id"]).returncode == 0
    second = opened(asking, key)
    assert second["subject"] == "second.invalid:443", "what was allowed is not asked again"
    assert asking.cli("deny", "--comment", "not that one").returncode == 0
    assert asking.cli("wait", key).returncode == 0
    said = output(asking, key)
    assert said.count("first.invalid could not be resolved") == 2
    assert "HTTP/1.1 403 Forbidden" in said
    assert "host second.invalid:443 was denied by root: not that one" in said
    late = asking.cli("approve", second["id"])
    assert (late.returncode, "changes nothing" in late.stderr) == (2, True)


def test_question_that_nobody_answers_is_denied_and_the_session_says_so(asking):
    key = start(asking, "hasty", 'ask("third.invalid")', "--approvals", "policy")
    assert asking.cli("wait", key).returncode == 122
    assert "denied: nobody answered in time" in output(asking, key)
    assert asking.events(key)[-1]["data"]["reason"] == "approval_unanswered"


def test_script_never_waits_for_a_person(asking):
    key = start(asking, "asking", 'ask("fourth.invalid")')
    assert asking.cli("wait", key).returncode == 122
    assert "HTTP/1.1 403" in output(asking, key)


def test_grant_lets_exactly_that_host_pass_later_sessions(asking):
    key = start(asking, "asking", 'ask("fifth.invalid")', "--approvals", "wait")
    assert asking.cli("approve", opened(asking, key)["id"], "--always").returncode == 0
    asking.cli("wait", key)
    key = start(asking, "asking", 'ask("fifth.invalid"); ask("not.fifth.invalid")')
    assert asking.cli("wait", key).returncode == 122
    said = output(asking, key)
    assert "fifth.invalid could not be resolved" in said
    assert "host not.fifth.invalid:443 was denied" in said


def test_nothing_inside_can_answer(asking):
    """While its own question is open, a session tries the API through every door that it has."""
    code = 'import threading; threading.Thread(target=ask, args=("sixth.invalid",)).start()\n' + ANSWER
    key = start(asking, "asking", code, "--approvals", "wait")
    question = opened(asking, key)
    until = time.monotonic() + 30
    while output(asking, key).count("328 ") < 2 and time.monotonic() < until:
        time.sleep(0.1)
    answers = [line for line in output(asking, key).splitlines() if line.startswith(("810", "328"))]
    assert len(answers) == 4
    assert all(" 403 " in line or " 400 " in line for line in answers), answers
    assert asking.json("approval", "show", question["id"], "--json")["state"] == "open"
    asking.cli("deny", question["id"])
    asking.cli("wait", key)
