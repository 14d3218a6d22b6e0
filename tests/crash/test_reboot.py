"""What becomes of a session when the host is rebooted under it?"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from .faults import LAUNCHER, assert_nothing_left, assert_whole, output

pytestmark = pytest.mark.timeout(120)


def forget_boot(timeline: Path) -> None:
    """As if the session had been started on another boot than this one."""
    written = timeline.read_bytes()
    (boot_id,) = {msgspec.json.decode(one) for one in re.findall(rb'"boot_id":("[^"]+")', written)}
    with timeline.open("r+b") as file:
        file.write(written.replace(boot_id.encode(), b"0" * len(boot_id)))


def test_session_over_a_reboot_is_lost_and_what_it_left_is_kept(own, docker_socket):
    key = own.cli("run", "-d", "--", "sh", "-c", "echo kept > /artefacts/a; echo up; exec sleep 3600").stdout.strip()
    own.wait_for(key, "output.text")
    init = os.pidfd_open(own.json("session", "show", key, "--json")["report"]["binding"]["pid"])
    own.stop()
    own.kill(LAUNCHER)
    signal.pidfd_send_signal(init, signal.SIGKILL)
    assert select.select([init], [], [], 20)[0], "it runs on"
    os.close(init)
    mounts = re.findall(rf" ({re.escape(str(own.home))}/launcher/mnt/\S*) ", Path("/proc/self/mounts").read_text())
    assert mounts, "its disk was there"
    for mount in reversed(mounts):
        subprocess.run(["umount", "-l", mount], check=True)
    forget_boot(own.home / "artefacts" / "logs" / f"{key}.jsonl")
    own.start()
    events = own.wait_for(key, "session.ended")
    assert_whole(events, "reboot")
    ended = events[-1]["data"]
    assert (ended["state"], ended["exit_code"], "rebooted" in ended["detail"]) == ("lost", 125, True), ended
    assert output(events) == "up\n"
    assert [event["data"]["path"] for event in events if event["type"] == "artefact.stored"] == ["a"]
    assert own.cli("artefact", "cat", key, "a").stdout == "kept\n"
    assert_nothing_left(own, docker_socket, "reboot")
