"""Are both processes started again whatever becomes of the log that says so?"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from eleagent_daemon import supervise


def test_supervisor_goes_on_where_its_log_has_no_room(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    program = ["/bin/sh", "-c", f"echo >> {runs}; exit 1"]
    command = [sys.executable, "-I", "-S", str(supervise.__file__), str(tmp_path / "own"), str(tmp_path / "lock")]
    with Path("/dev/full").open("wb") as full:
        parent = subprocess.Popen([*command, "1", "/bin/true", *program], stderr=full)
    try:
        until = time.monotonic() + 8
        while not runs.exists() or runs.stat().st_size < 3:
            assert parent.poll() is None, "it ended with the first death that it could not tell"
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        parent.terminate()
        assert parent.wait(8) == 0
