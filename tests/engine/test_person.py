"""Does what bubblewrap is tested for hold for an ordinary user too, where root runs the suite?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .. import person

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.timeout(420),
    pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user runs these tests himself"),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """His, and not below pytest's own folder, which is root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="eleagent-person-"))
    os.chown(folder, person.UID, person.UID)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "files",
    [
        "engine/test_runtime_contract.py",
        "engine/test_launcher_life.py",
        "engine/test_launcher_crash.py",
        "e2e/test_personal.py",
    ],
)
def test_an_ordinary_user_passes(files: str, home: Path) -> None:
    words = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={home}/t",
        "-m",
        "bubblewrap",
    ]
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "CI": "1"}
    tests = str(Path(__file__).parents[1] / files)
    done = subprocess.run(
        person.command([*words, f"--basetemp={home}/t", tests]),
        cwd=person.CHECKOUT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout
