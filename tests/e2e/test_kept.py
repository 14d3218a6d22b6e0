"""Is a sandbox that was changed behind our back killed, kept to be looked at, and said so?"""

from __future__ import annotations

import subprocess
import time

import pytest

from ..daemonfixture import running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


def test_sandbox_that_is_not_what_was_attested_is_killed_and_kept(docker_socket):
    def docker(*words: str) -> str:
        command = ["docker", "-H", f"unix://{docker_socket}", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with running_daemon(docker_socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        key = own.cli("run", "-d", "--", "sleep", "300").stdout.strip()
        own.wait_for(key, "session.started")
        container = docker("ps", "-q", "--filter", f"label=io.eleagent.session={key}")
        docker("update", "--pids-limit", "9999", container)
        own.kill("eleagent_daemon.main")
        time.sleep(0.5)
        own.answers()
        ended = own.wait_for(key, "sandbox.violation", "session.ended")[-1]["data"]
        assert (ended["state"], ended["reason"], ended["exit_code"]) == ("isolation_failed", "isolation_violated", 126)
        session = own.json("session", "show", key, "--json")["session"]
        assert session["kept_until"]
        assert docker("inspect", "-f", "{{.State.Running}}", container) == "false"
        told = own.cli("doctor").stdout
        assert f"{key} was found changed and killed; it is kept until {session['kept_until']}" in told
        docker("rm", "-f", container)
