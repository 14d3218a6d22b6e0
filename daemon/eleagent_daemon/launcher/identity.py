"""Who does the sandbox's user think it is?"""

from __future__ import annotations

from pathlib import Path

from eleagent_daemon.domain.sandbox import HOME_DIR


def write_identity(folder: Path, uid: int) -> dict[str, str]:
    """Write a passwd and a group file with root and `agent`; returns what to bind read-only, target → source."""
    folder.mkdir(mode=0o755, exist_ok=True)
    passwd = f"root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{uid}:{uid}:agent:{HOME_DIR}:/bin/sh\n"
    group = f"root:x:0:\nagent:x:{uid}:\n"
    for name, text in (("passwd", passwd), ("group", group)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return {f"/etc/{name}": str(folder / name) for name in ("passwd", "group")}
