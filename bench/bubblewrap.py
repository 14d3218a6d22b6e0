"""What does a sandbox cost that no engine makes: the time to a program's end, against another tool and bare bubblewrap,
and the memory of what holds its pipes?
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from footprint import pss_kib
from start import seconds
from warm import ELEAGENT, HOME, START_S, eleagent, paired, warm_daemon

PACKAGE = "@anthropic-ai/sandbox-runtime"
NEEDED = {"npm": "npm", "rg": "ripgrep", "socat": "socat"}
ROUNDS = 15
BARE = (
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr",
    "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
    "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", "/bin/true",
)  # fmt: skip


def bubblewrap_costs() -> tuple[float, str, float, str, float]:
    """Ours / srt's and in words; milliseconds of ours over bare bubblewrap, and in words; MiB of a sandbox's holder.

    Raises SystemExit where the other's command can't be had: a comparison that was not made is no promise kept.
    """
    ours, theirs = [ELEAGENT, "run", "-q", "--", "true"], [str(_srt()), "true"]
    home = HOME / "bubblewrap"
    with warm_daemon(home=home, runtime="bubblewrap"):
        _, bare = paired(lambda: seconds(ours), lambda: seconds(BARE), rounds=ROUNDS)
        ratio, words = paired(lambda: seconds(ours), lambda: seconds(theirs), rounds=ROUNDS)
        holder = _holder_mib(home)
    mine, other = (float(side.split()[0]) for side in bare.split(" / "))
    return ratio, words, mine - other, bare, holder


def _holder_mib(home: Path) -> float:
    """Of a session that runs (PSS)."""
    key = eleagent("run", "-d", "--", "sleep", "60").strip()
    try:
        holder = home / "launcher" / "bubblewrap" / "sandboxes" / f"eleagent-{key}-1" / "holder"
        until = time.monotonic() + START_S
        while not holder.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(1)
        return pss_kib(int(holder.read_text().split()[0])) / 1024
    finally:
        eleagent("stop", "--grace", "0", key)


def _srt() -> Path:
    """Installed by npm below the benchmark's own home, and what it needs by apt-get, where that is not there yet."""
    program = HOME / "srt" / "node_modules" / ".bin" / "srt"
    missing = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    if missing and subprocess.run(["apt-get", "install", "-y", "-qq", *missing], stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"bench: srt needs {', '.join(missing)}: apt-get install {' '.join(missing)}")
    if not program.exists():
        folder = HOME / "srt"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", PACKAGE]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return program
