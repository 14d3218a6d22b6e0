"""What can a session do with itself, from inside its sandbox, and how is that shown outside?"""

from __future__ import annotations

import time

import pytest

from ..daemonfixture import Daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

WORK = """
import json, os, time, urllib.request
url, token = os.environ["ELEAGENT_SESSION_URL"], os.environ["ELEAGENT_SESSION_TOKEN"]
def ask(method, path, **body):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body else None, method=method,
                                     headers={"Authorization": f"Bearer {token}"})
    return json.load(urllib.request.urlopen(request))
own = ask("GET", "/v1/session")
ask("POST", "/v1/session/reports", text=f"I am {own['key']} of {own['owner']}")
asked = ask("POST", "/v1/session/approvals", subject="deploy to staging", why="all is green")
said = ask("GET", f"/v1/session/approvals/{asked['id']}?wait_s=60")
ask("POST", "/v1/session/reports", text=f"{said['state']}: {said['comment']}")
ask("POST", "/v1/session/end")
time.sleep(60)
"""


def test_session_reports_asks_and_ends_itself(daemon: Daemon) -> None:
    started = daemon.cli("run", "-d", "--approvals", "wait", "--", "python3", "-c", WORK)
    assert started.returncode == 0, started.stderr
    key = started.stdout.strip()
    daemon.wait_for(key, "agent.asked")
    until = time.monotonic() + 30
    while not (found := daemon.json("approval", "ls", key, "--json")["approvals"]):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert [(one["kind"], one["subject"]) for one in found] == [("request", "deploy to staging")]
    shown = daemon.cli("approval", "show", found[0]["id"])
    assert "in its own words" in shown.stdout
    assert "a courtesy" in shown.stdout
    assert daemon.cli("approve", found[0]["id"], "--comment", "go").returncode == 0
    ended = daemon.cli("wait", key)
    assert ended.returncode == 137
    events = daemon.events(key)
    claimed = [(each["type"], each["by"]) for each in events if each["type"].startswith(("agent.", "approval."))]
    assert claimed == [
        ("agent.reported", "claimed"), ("agent.asked", "claimed"), ("approval.answered", "observed"),
        ("agent.reported", "claimed"),
    ]  # fmt: skip
    reports = [each["data"]["text"] for each in events if each["type"] == "agent.reported"]
    assert reports[0].startswith(f"I am {key} of ")
    assert reports[1] == "allowed: go"
    assert events[-1]["data"]["reason"] == "ended_itself"
    assert events[-1]["data"]["state"] == "stopped"
    logs = daemon.cli("logs", key).stdout
    assert "deploy to staging" in logs
    assert "allowed: go" in logs
    stops = daemon.json("audit", "ls", "--session", key, "--action", "session.stop", "--json")
    assert [one["actor"] for one in stops["records"]] == [key]
