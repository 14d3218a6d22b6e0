"""How long does a program take in a sandbox that no engine makes, against another tool and bare bubblewrap?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from start import seconds
from warm import ELEAGENT, HOME, paired, warm_daemon

PACKAGE = "@anthropic-ai/sandbox-runtime"
NEEDED = {"npm": "npm", "rg": "ripgrep", "socat": "socat"}
ROUNDS = 15
BARE = (
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr",
    "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
    "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--", "/bin/true",
)  # fmt: skip


def bubblewrap_starts() -> tuple[float, str, float, str]:
    """Ours / srt's and in words; milliseconds of ours over bare bubblewrap, and in words.

    Raises SystemExit where the other's command can't be had: a comparison that was not made is no promise kept.
    """
    ours, theirs = [ELEAGENT, "run", "-q", "--", "true"], [str(_srt()), "true"]
    with warm_daemon(home=HOME / "bubblewrap", runtime="bubblewrap"):
        _, bare = paired(lambda: seconds(ours), lambda: seconds(BARE), rounds=ROUNDS)
        ratio, words = paired(lambda: seconds(ours), lambda: seconds(theirs), rounds=ROUNDS)
    mine, other = (float(side.split()[0]) for side in bare.split(" / "))
    return ratio, words, mine - other, bare


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
