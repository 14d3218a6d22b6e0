"""Does a step in a process of its own end with who began it?"""

from __future__ import annotations

import os
import select
import subprocess
import sys

PARENT = """
import asyncio, os, time
from eleagent_daemon.kernel.child import in_child

def job():
    print(os.getpid(), flush=True)
    time.sleep(60)
    return None, []

asyncio.run(in_child(job, type(None)))
"""


def test_child_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([child], [], [], 0)[0] == [], "it is at its step"
            parent.kill()
            assert select.select([child], [], [], 5)[0] == [child], "an orphan goes on"
        finally:
            os.close(child)
