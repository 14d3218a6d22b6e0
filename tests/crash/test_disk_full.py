"""What becomes of a session whose timeline's disk is full, and of the daemon when there is room again?"""

from __future__ import annotations

import os
import subprocess

import pytest

from .faults import assert_nothing_left, output

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.parametrize("own", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True),
]

TALK = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i $(printf %0900d 0); done; sleep 60"


def test_session_that_can_not_be_kept_ends_clearly_and_the_next_one_works(own, docker_socket):
    logs = own.home / "artefacts" / "logs"
    owner = logs.stat()
    own.stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(logs)], check=True)
    try:
        os.chown(logs, owner.st_uid, owner.st_gid)
        logs.chmod(owner.st_mode & 0o7777)
        own.start()
        key = own.cli("run", "-d", "--", "sh", "-c", TALK).stdout.strip()
        done = own.cli("wait", key, timeout=100)
        free = os.statvfs(logs)
        assert free.f_bavail * free.f_bsize < 1 << 20, "the fault was really injected"
        assert (done.returncode, "timeline_unwritable" in done.stdout) == (125, True), done
        session = own.json("session", "show", key, "--json")["session"]
        assert (session["state"], session["reason"]) == ("failed", "timeline_unwritable")
        events = own.events(key)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), "nothing is torn or twice"
        numbers = [int(line.split()[0]) for line in output(events).splitlines() if " " in line]
        assert numbers, "what was written before is there"
        assert numbers == list(range(1, len(numbers) + 1))

        (logs / f"{key}.jsonl").unlink()
        after = own.cli("run", "-q", "--", "echo", "goes on", timeout=60)
        assert (after.stdout, after.returncode) == ("goes on\n", 0), after.stderr
        assert_nothing_left(own, docker_socket, "disk full")
    finally:
        subprocess.run(["umount", "-l", str(logs)], check=True)
