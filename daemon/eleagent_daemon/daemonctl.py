"""How do the two processes start together? Checks settings, prepares folders, and becomes the parent of both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eleagent.errors import ConfigError, Conflict, EleAgentError
from eleagent_daemon import supervise
from eleagent_daemon.account import daemon_account
from eleagent_daemon.config import Config, load, parse_flags
from eleagent_daemon.layout import Layout

_READY_S = 30.0
_TICK_S = 0.1


def main(arguments: Sequence[str]) -> int:
    """`eleagent daemon run [--detach] [--SETTING VALUE …]`; ends when asked to by SIGTERM or SIGINT."""
    detach = bool({"--detach", "-d"} & set(arguments))
    rest = [argument for argument in arguments if argument not in ("--detach", "-d", "run")]
    try:
        flags, file = parse_flags(rest)
        config, _ = load(flags, environ=os.environ, file=file)
        if detach:
            return _detach(rest, config)
        _run(rest, config)
    except EleAgentError as err:
        supervise.say(err.message)
        return err.exit_code
    return 0


def _run(rest: list[str], config: Config) -> None:
    layout = Layout(Path(config.home))
    uid, gid = daemon_account(config.user)
    installation = layout.prepare(uid=uid, gid=gid)
    _prepare_socket_folder(Path(config.socket).parent, uid, gid)
    python = [sys.executable, "-P", "-m"]
    launcher = [
        *python, "eleagent_daemon.launcher.main",
        "--home", config.home,
        "--socket", str(layout.launcher_socket),
        "--daemon-uid", str(uid),
        "--installation", installation,
        "--runtime", config.runtime,
        "--docker-socket", config.docker.socket,
    ]  # fmt: skip
    daemon = [*python, "eleagent_daemon.main", *rest]
    supervise.say(f"eleagentd runs as uid {uid} on {config.socket}, state in {config.home}")
    words = [str(layout.launcher / "lock"), str(len(launcher)), *launcher, *daemon]
    os.execv(sys.executable, [sys.executable, "-I", "-S", supervise.__file__, *words])  # noqa: S606 - no shell is meant


def _prepare_socket_folder(folder: Path, uid: int, gid: int) -> None:
    """The daemon's own where it is made here; one that is there already (/run, /tmp) stays whose it is."""
    try:
        folder.mkdir(mode=0o755, parents=True)
        os.chown(folder, uid, gid)
    except FileExistsError:
        return
    except OSError as err:
        raise ConfigError(f"socket: {folder} can't be used: {err.strerror}") from None


def _detach(rest: list[str], config: Config) -> int:
    """Start the same in the background and return when it answers."""
    if _answers(config.socket):
        raise Conflict(f"a daemon is running already: it answers at {config.socket}")
    log = Path(config.home) / "daemon.log"
    try:
        log.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(output, 0o600)
    except OSError as err:
        raise ConfigError(f"home: {config.home} can't be used: {err.strerror} ({err.filename})") from None
    command = [sys.executable, "-P", "-m", "eleagent_daemon.daemonctl", *rest]
    parent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    os.close(output)
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        if parent.poll() is not None:
            lines = log.read_text(errors="replace").splitlines()
            supervise.say(lines[-1].removeprefix("eleagent: ") if lines else f"it ended with {parent.returncode}")
            return parent.returncode or 1
        if _answers(config.socket):
            supervise.say(f"the daemon is ready (pid {parent.pid}); its log is {log}")
            return 0
        time.sleep(_TICK_S)
    parent.terminate()
    supervise.say(f"the daemon did not answer within {_READY_S:g} s: see {log}")
    return EleAgentError.exit_code


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
