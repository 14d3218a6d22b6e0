"""What does starting in the background leave for others to read?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.config import load
from eleagent_daemon.daemonctl import _detach


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users can get to, as eleagentd has to where root starts it."""
    with tempfile.TemporaryDirectory(prefix="eleagent-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_daemonctl_log_is_its_owners_alone(folder: Path) -> None:
    config, _ = load({}, environ={"ELEAGENT_HOME": str(folder)}, file=None)
    log = folder / "daemon.log"
    for before in (None, 0o644):
        if before is not None:
            log.chmod(before)
        with pytest.raises(ConfigError, match=r"--bogus: no such flag .*\(its log is .*daemon\.log\)"):
            _detach(["--bogus", "1"], config)
        assert log.stat().st_mode & 0o777 == 0o600
    refused = [line for line in log.read_text().splitlines() if "--bogus" in line]
    assert len(refused) == 2, "the second start goes on where the first ended"
