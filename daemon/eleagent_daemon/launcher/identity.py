"""Who does the sandbox's user think it is, and which names does it know?"""

from __future__ import annotations

from pathlib import Path

from eleagent_daemon.domain.sandbox import HOME_DIR


def write_identity(folder: Path, uid: int) -> dict[str, str]:
    """Write passwd and group with root and `agent`, and hosts; returns what to bind read-only, target → source."""
    folder.mkdir(mode=0o755, exist_ok=True)
    passwd = f"root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:{HOME_DIR}:/bin/sh\n"
    group = f"root:x:0:\nagent:x:{uid}:\n"
    files = {"passwd": passwd, "group": group, "hosts": "127.0.0.1 localhost\n::1 localhost\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return {f"/etc/{name}": str(folder / name) for name in files}
