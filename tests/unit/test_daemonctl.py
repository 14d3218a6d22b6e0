"""What does starting in the background leave for others to read?"""

from __future__ import annotations

from pathlib import Path

from eleagent_daemon.config import load
from eleagent_daemon.daemonctl import _detach


def test_daemonctl_log_is_its_owners_alone(tmp_path: Path, capsys) -> None:
    config, _ = load({}, environ={"ELEAGENT_HOME": str(tmp_path)}, file=None)
    log = tmp_path / "daemon.log"
    for before in (None, 0o644):
        if before is not None:
            log.chmod(before)
        assert _detach(["--bogus", "1"], config) == 2, "the daemon itself refuses the setting"
        assert log.stat().st_mode & 0o777 == 0o600
    assert "bogus" in capsys.readouterr().err
    assert len(log.read_text().splitlines()) == 2, "the second start goes on where the first ended"
