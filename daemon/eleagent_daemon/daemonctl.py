"""How do the two processes start together? Checks settings, prepares folders, and becomes the parent of both."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from eleagent.client.locate import default_socket
from eleagent.errors import ConfigError, Conflict, EleAgentError
from eleagent_daemon import supervise
from eleagent_daemon.account import daemon_account, group_rule
from eleagent_daemon.choice import decide
from eleagent_daemon.config import load, parse_flags
from eleagent_daemon.layout import Layout, check_local, unusable_home
from eleagent_daemon.listen import held, hold_lock
from eleagent_daemon.logout import ends_at_logout
from eleagent_daemon.settings import Config
from eleagent_daemon.store.timeline import now

PRIVATE_IDLE_S: Final = 1800.0
"""When a private daemon ends unneeded, unless a setting says otherwise."""

_READY_S: Final = 30.0
_TICK_S: Final = 0.02
_DEATHS: Final = 3
"""An eleagentd that dies so often before it answers once will not come up."""


def main(arguments: Sequence[str]) -> int:
    """`eleagent daemon run [--detach] [--SETTING VALUE …]`; ends when asked to by SIGTERM or SIGINT.

    `--private` is how a client starts the caller's own: in the background, once, however many ask at the same time.
    What there is to say about a start in the background goes to stdout, what went wrong to stderr.
    """
    rest = [argument for argument in arguments if argument not in ("--detach", "-d", "--private", "run")]
    try:
        flags, file = parse_flags(rest)
        config, origins = load(flags, environ=os.environ, file=file)
        if "--private" in arguments:
            by_default = any(origin.name == "idle_s" and origin.source == "default" for origin in origins)
            _start_private([*rest, "--idle-s", str(PRIVATE_IDLE_S)] if by_default else rest, config)
        elif {"--detach", "-d"} & set(arguments):
            if _answers(config.socket):
                raise Conflict(f"a daemon is running already: it answers at {config.socket}")
            _detach(rest, config)
        else:
            words = _prepare(rest, config)
            supervise.say(f"eleagentd answers on {config.socket}, its state is in {config.home}")
            os.execv(words[0], words)  # noqa: S606 - no shell is meant
    except EleAgentError as err:
        supervise.say(err.message)
        return err.exit_code
    return 0


def _start_private(rest: list[str], config: Config) -> None:
    """Returns at once where another client has started it meanwhile."""
    if Path(config.socket) != Path(met := default_socket(os.getuid())):
        raise ConfigError(
            f"socket: clients would not find {config.socket}: they look at {met}. Leave home and socket out of the "
            "settings and set ELEAGENT_HOME, which clients read too"
        )
    home = Path(config.home)
    try:
        check_local(home, "home", "ELEAGENT_HOME")
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
        with hold_lock(home / "start.lock", wait=True):
            if _is_free(Layout(home), config):
                _detach(rest, config)
    except OSError as err:
        raise unusable_home(home, err) from None


def _is_free(layout: Layout, config: Config) -> bool:
    """Whether no daemon answers, nor will. One that is ending, unneeded, still has the home for a moment; one that died
    is started again by its parent; one that stays without a socket is stuck.
    """
    until = time.monotonic() + supervise.STOP_S + supervise.LAUNCHER_STOP_S
    while not _answers(config.socket):
        lock = next(filter(held, (layout.parent_lock, layout.lock)), None)
        if lock is None:
            return True
        if time.monotonic() > until:
            raise Conflict(f"it runs already and does not answer (it holds {lock}): see {_log(config)}")
        time.sleep(_TICK_S)
    return False


def _prepare(rest: list[str], config: Config) -> list[str]:
    """Folders, and the command line of the parent of both processes."""
    layout = Layout(Path(config.home))
    uid, gid = daemon_account(config.user)
    installation = layout.prepare(uid=uid, gid=gid)
    group = group_rule(config.unix.group, config.unix.role)
    _prepare_socket_folder(Path(config.socket).parent, uid, gid, shared_with=group.gid if group else None)
    choice = decide(config.runtime, layout.runtime_file, uid=os.getuid(), engine=config.docker.socket, now=now())
    python = [sys.executable, "-P", "-m"]
    launcher = [
        *python, "eleagent_daemon.launcher.main",
        "--home", config.home,
        "--socket", str(layout.launcher_socket),
        "--daemon-uid", str(uid),
        "--installation", installation,
        "--runtime", choice.runtime,
        "--docker-socket", config.docker.socket,
    ]  # fmt: skip
    daemon = [*python, "eleagent_daemon.main", *rest]
    words = [str(layout.parent_lock), str(layout.launcher / "lock"), str(len(launcher)), *launcher, *daemon]
    return [sys.executable, "-I", "-S", supervise.__file__, *words]


def _prepare_socket_folder(folder: Path, uid: int, gid: int, *, shared_with: int | None) -> None:
    """The daemon's own where it is made here; one that is there already (/run, /tmp) stays whose it is. A group that
    may use the socket gets the folder, so that the socket inherits it (setgid) and eleagentd need not be in that group.
    """
    check_local(folder, "socket", "ELEAGENT_SOCKET")
    try:
        if made := not folder.exists():
            folder.mkdir(mode=0o755, parents=True)
            os.chown(folder, uid, gid)
        if shared_with is not None and (made or folder.stat().st_uid == uid):
            os.chown(folder, -1, shared_with)
            folder.chmod(folder.stat().st_mode | stat.S_ISGID)
    except OSError as err:
        raise ConfigError(f"socket: {folder} can't be used: {err.strerror}") from None


def _detach(rest: list[str], config: Config) -> None:
    """Start both in the background, in a session of their own, and return when the daemon answers."""
    words = _prepare(rest, config)
    log = _log(config)
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(output, 0o600)
    except OSError as err:
        raise unusable_home(Path(config.home), err) from None
    begin = os.fstat(output).st_size
    parent = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    os.close(output)
    until = time.monotonic() + _READY_S
    while not _answers(config.socket):
        said = _said(log, begin)
        if parent.poll() is not None:
            raise _failure(parent.returncode, said, log)
        if sum(line.startswith(f"{supervise.MARK}eleagentd ended") for line in said) >= _DEATHS:
            parent.terminate()
            raise _failure(EleAgentError.exit_code, said, log)
        if time.monotonic() > until:
            parent.terminate()
            raise EleAgentError(f"the daemon did not answer within {_READY_S:g} s: see {log}")
        time.sleep(_TICK_S)
    _tell(f"the daemon is ready (pid {parent.pid}); its log is {log}")
    if advice := ends_at_logout():
        _tell(advice)


def _failure(code: int, said: list[str], log: Path) -> EleAgentError:
    """What it said last to whoever started it."""
    why = (said or [f"it ended with {code}"])[-1].removeprefix(supervise.MARK)
    kind = ConfigError if code == ConfigError.exit_code else EleAgentError
    return kind(f"{why} (its log is {log})")


def _said(log: Path, begin: int) -> list[str]:
    """Lines for whoever started it, of what was written since `begin`."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.startswith(supervise.MARK)]


def _log(config: Config) -> Path:
    return Path(config.home) / "daemon.log"


def _tell(text: str) -> None:
    print(f"{supervise.MARK}{text}", flush=True)  # noqa: T201 - to whoever started it


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
