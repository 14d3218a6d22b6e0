"""How do the two processes start together? The parent of both: it starts, restarts and ends them, and does nothing
else.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eleagent.errors import ConfigError, Conflict, EleAgentError
from eleagent_daemon.config import Config, load, parse_flags
from eleagent_daemon.layout import Layout
from eleagent_daemon.privileges import daemon_account

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 30.0
_STOP_S = 15.0
_READY_S = 30.0
_TICK_S = 0.1
_PASSED_ON = frozenset({"PATH", "LANG", "PYTHONPATH", "HOME", "ELEAGENT_HOME"})


@dataclass
class Child:
    """A process that is started again when it dies, a little later each time."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0

    def keep(self) -> None:
        """Start it where it is not running and its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            lasted = time.monotonic() - self.started
            self.failures = 0 if lasted > _STEADY_S else self.failures + 1
            _say(f"{self.name} ended with {self.process.returncode}; starting it again")
            self.process = None
        if self.process is None and time.monotonic() >= self.started + self._pause():
            self.started = time.monotonic()
            self.process = self.start()

    def _pause(self) -> float:
        return _BACKOFF_S[min(self.failures, len(_BACKOFF_S)) - 1] if self.failures else 0.0


def main(arguments: Sequence[str]) -> int:
    """`eleagent daemon run [--detach] [--SETTING VALUE …]`; returns when asked to end by SIGTERM or SIGINT."""
    detach = bool({"--detach", "-d"} & set(arguments))
    rest = [argument for argument in arguments if argument not in ("--detach", "-d", "run")]
    try:
        flags, file = parse_flags(rest)
        config, _ = load(flags, environ=os.environ, file=file)
        if detach:
            return _detach(rest, config)
        return _run(rest, config)
    except EleAgentError as err:
        _say(err.message)
        return err.exit_code


def _run(rest: list[str], config: Config) -> int:
    layout = Layout(Path(config.home))
    uid, gid = daemon_account(config.user)
    installation = layout.prepare(uid=uid, gid=gid)
    _prepare_socket_folder(Path(config.socket).parent, uid, gid)
    launcher = Child(name="eleagent-launcher", start=lambda: _start_launcher(config, layout, installation, uid))
    daemon = Child(name="eleagentd", start=lambda: _start_daemon(rest))
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: ending.append(signum))
    _say(f"eleagentd runs as uid {uid} on {config.socket}, state in {config.home}")
    fatal = 0
    while not ending and not fatal:
        if not launcher_alive(layout):
            launcher.keep()
        daemon.keep()
        time.sleep(_TICK_S)
        # A setting or another daemon in the way: starting again would not help.
        if daemon.process is not None and daemon.process.poll() == ConfigError.exit_code:
            fatal = ConfigError.exit_code
    _end(daemon, launcher)
    return fatal


def _end(daemon: Child, launcher: Child) -> None:
    """eleagentd ends now; the launcher as soon as it holds no sandbox, which may be much later."""
    for child in (daemon, launcher):
        if child.process is not None and child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
    if daemon.process is not None:
        try:
            daemon.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.process.kill()
    if launcher.process is not None:
        try:
            launcher.process.wait(1.0)
        except subprocess.TimeoutExpired:
            _say("sessions are running: eleagent-launcher stays with them until they end")


def _start_launcher(config: Config, layout: Layout, installation: str, uid: int) -> subprocess.Popen[bytes]:
    # It knows no secret: neither the model's key nor anything else of our environment reaches it.
    environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    command = [
        sys.executable, "-P", "-m", "eleagent_daemon.launcher.main",
        "--home", config.home,
        "--socket", str(layout.launcher_socket),
        "--daemon-uid", str(uid),
        "--installation", installation,
        "--docker-socket", config.docker.socket,
    ]  # fmt: skip
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)


def _start_daemon(rest: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "eleagent_daemon.main", *rest]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def launcher_alive(layout: Layout) -> bool:
    """Whether a launcher, ours or an earlier one's, has this home."""
    try:
        with (layout.launcher / "lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _prepare_socket_folder(folder: Path, uid: int, gid: int) -> None:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, uid, gid)
    except OSError as err:
        raise ConfigError(f"socket: {folder} can't be used: {err.strerror}") from None


def _detach(rest: list[str], config: Config) -> int:
    """Start the same in the background and return when it answers."""
    if _answers(config.socket):
        raise Conflict(f"a daemon is running already: it answers at {config.socket}")
    log = Path(config.home) / "daemon.log"
    try:
        log.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as err:
        raise ConfigError(f"home: {config.home} can't be used: {err.strerror} ({err.filename})") from None
    with output:
        command = [sys.executable, "-P", "-m", "eleagent_daemon.daemonctl", *rest]
        parent = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        if parent.poll() is not None:
            lines = log.read_text(errors="replace").splitlines()
            _say(lines[-1] if lines else f"it ended with {parent.returncode}")
            return parent.returncode or 1
        if _answers(config.socket):
            _say(f"the daemon is ready (pid {parent.pid}); its log is {log}")
            return 0
        time.sleep(_TICK_S)
    parent.terminate()
    _say(f"the daemon did not answer within {_READY_S:g} s: see {log}")
    return EleAgentError.exit_code


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _say(text: str) -> None:
    print(f"eleagent: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the operator's terminal or the service's log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
