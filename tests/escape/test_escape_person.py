"""Does a sandbox of an ordinary user hold what one of root's does? His probes run against the lab that root made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .. import person
from .lab import TOLD_LAB, Lab

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user runs test_escape_bubblewrap himself"),
]


def test_a_persons_sandbox_holds_every_probe(escape_lab: Lab) -> None:
    home = Path(tempfile.mkdtemp(prefix="eleagent-person-"))
    os.chown(home, person.UID, person.UID)
    told = {"hosts": escape_lab.hosts, "metadata": escape_lab.metadata, "port": escape_lab.port}
    env = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "CI": "1",
    }
    words = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={home}/t"]
    tests = str(Path(__file__).with_name("test_escape_bubblewrap.py"))
    before = escape_lab.seen()
    try:
        done = subprocess.run(
            person.command([*words, tests]),
            cwd=person.CHECKOUT,
            env=env | {TOLD_LAB: json.dumps(told)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "1 passed, 1 skipped" in done.stdout
    assert escape_lab.seen() == before
