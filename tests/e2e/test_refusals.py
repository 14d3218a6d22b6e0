"""Is a person told at once, and in words that help, what can't be had?"""

from __future__ import annotations

import msgspec
import pytest

from ..daemonfixture import running_daemon

pytestmark = pytest.mark.engine


def test_data_of_one_name_is_refused_before_there_is_a_session(daemon, tmp_path):
    tmp_path.chmod(0o755)
    for folder in ("a", "b"):
        (tmp_path / folder / "x").mkdir(parents=True)
    before = len(daemon.json("ps", "-a", "--json")["sessions"])
    done = daemon.cli("run", "--data", str(tmp_path / "a/x"), "--data", str(tmp_path / "b/x"), "--", "true")
    assert done.returncode == 2
    assert "rename one, or name a folder that holds both" in done.stderr
    assert len(daemon.json("ps", "-a", "--json")["sessions"]) == before


def test_timed_out_session_says_after_how_long(daemon):
    done = daemon.cli("run", "--timeout", "1", "--", "sleep", "60")
    assert done.returncode == 124
    assert "after 1 s" in done.stderr


def test_without_an_engine_agents_are_listed_and_installed_and_doctor_says_what_to_do(tmp_path):
    missing = tmp_path / "docker.sock"
    with running_daemon(str(missing), secret=None, ELEAGENT_RUNTIME="docker") as own:
        assert own.cli("agent", "install", "claude").returncode == 0
        agents = {agent["name"]: agent for agent in own.json("agent", "ls", "--json")["agents"]}
        assert agents["claude"]["installed"]
        assert {agent["needs"] for agent in agents.values()} == {
            "a container engine (what is wrong with it: eleagent doctor)"
        }
        findings = {one["name"]: one for one in msgspec.json.decode(own.cli("doctor", "--json").stdout)["findings"]}
        assert findings["engine"] == {
            "name": "engine",
            "level": "fail",
            "found": f"no container engine at {missing}",
            "fix": "install one (apt-get install docker.io) or set docker.socket",
        }
        assert findings["launcher"]["level"] == "ok"
        assert findings["programs"]["level"] == "ok"
        assert findings["model"]["found"] == "no credential"
        done = own.cli("run", "--", "true")
        assert done.returncode == 125
        assert done.stderr.rstrip().endswith("or set docker.socket")
