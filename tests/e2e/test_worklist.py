"""Is a list of work worked off by a real daemon, each unit once, whatever fails or dies, and then only what is left?"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from ..daemonfixture import running_daemon

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]


def write(folder, *units):
    path = folder / "work.jsonl"
    path.write_text("".join(json.dumps(unit) + "\n" for unit in units))
    return str(path)


def sessions(own):
    return len(own.json("ps", "-a", "--json")["sessions"])


def test_list_with_a_failed_unit_says_so_and_the_next_run_does_that_one_alone(daemon, tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    shell = ["sh", "-c"]
    tasks = write(
        tmp_path,
        {"id": "first", "argv": [*shell, "echo 1 > /artefacts/one"]},
        {"id": "needs-go", "argv": [*shell, "cat /data/go || exit 7"], "data": [str(data)]},
        {"id": "third", "argv": [*shell, "echo 3 > /artefacts/three"], "limits": {"max_cost_usd": 1.0}},
    )
    before = sessions(daemon)
    done = daemon.cli("run", "--tasks", tasks, "--concurrency", "2", "-o", str(tmp_path / "out"), timeout=120)
    assert done.returncode == 7, done.stderr
    assert "3 of 3 units, 2 at a time: at most 3 = 11.00 USD, and 50 USD a day for you" in done.stderr
    assert done.stderr.splitlines()[-1] == "2 succeeded, 1 failed"
    assert (tmp_path / "out" / "first" / "one").read_text() == "1\n"
    (data / "go").write_text("go\n")
    again = daemon.cli("run", "--tasks", tasks, "--json", timeout=120)
    assert again.returncode == 0, again.stderr
    assert "1 of 3 units (2 are done), 4 at a time: at most 1 x 5 USD = 5.00 USD" in again.stderr
    *units, total = [json.loads(line) for line in again.stdout.splitlines()]
    assert [one["id"] for one in units] == ["needs-go"]
    assert total == {"units": 3, "succeeded": 3, "failed": 0, "not_started": 0, "exit_code": 0}
    nothing = daemon.cli("run", "--tasks", tasks)
    assert (nothing.returncode, nothing.stderr.splitlines()[-1]) == (0, "3 succeeded, 0 failed")
    assert sessions(daemon) == before + 4


def test_list_goes_on_when_the_daemon_is_killed_in_the_middle(docker_socket, tmp_path):
    with running_daemon(docker_socket) as own:
        assert own.cli("image", "build", "command", timeout=110).returncode == 0
        tasks = write(tmp_path, *({"id": f"u{number}", "argv": ["sleep", "3"]} for number in range(4)))
        command = [sys.executable, "-P", "-m", "eleagent.cli.main", "run", "--tasks", tasks, "--concurrency", "2"]
        running = subprocess.Popen(command, env=own.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while not (progress := tmp_path / "work.jsonl.progress").exists() or progress.read_bytes().count(b"\n") < 2:
            assert time.monotonic() < until, own.log()
            time.sleep(0.1)
        own.kill("eleagent_daemon.main")
        said = running.communicate(timeout=120)[1]
        assert (running.returncode, said.splitlines()[-1]) == (0, "4 succeeded, 0 failed"), said
        assert sessions(own) == 4, "what was accepted before the death is not made twice"
