"""How are eleagentd and eleagent-launcher kept running together? The parent of both, which does nothing else.

A program of its own that imports next to nothing, since it lives as long as they do:
`python -I -S supervise.py OWN-LOCK LAUNCHER-LOCK N LAUNCHER-WORDS… DAEMON-WORDS…`, the first N words being the
launcher's.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
STOP_S = 15.0
LAUNCHER_STOP_S = 1.0
TICK_S = 0.1
LOOK_S = 0.5
FATAL = 78
"""eleagentd's exit code for a setting or another daemon in its way (EX_CONFIG, sysexits.h): not to be started again."""

UNNEEDED = 79
"""eleagentd's exit code when it ends for good, unneeded for long enough or told to: its launcher ends with it."""

EXPECTED = (0, FATAL, UNNEEDED, -signal.SIGTERM)
"""Who ends so has said why, or was asked to."""

USAGE = 2

MARK = "eleagent: "
"""Begins a line for the person who started us; eleagentd's own refusals have it too."""

# The launcher knows no secret: neither the model's key nor anything else of our environment reaches it.
PASSED_ON = ("PATH", "LANG", "PYTHONPATH", "HOME", "ELEAGENT_HOME")


class Child:
    """A process that is started again when it dies, a little later each time; `code` is how it ended last."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.code: int | None = None
        self._words = words
        # One arena of the allocator: our threads wait for the disk and need none of their own.
        self._environment = environment | {"MALLOC_ARENA_MAX": "1"}
        self._pid = 0
        self._failures = 0
        self._started = -STEADY_S

    def keep(self) -> None:
        """Start it where it is not running, its pause is over, and it did not end for good."""
        if (
            self.running()
            or self.over
            or time.monotonic() < self._started + BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        ):
            return
        self._started = time.monotonic()
        self._pid = os.posix_spawn(
            self._words[0],
            self._words,
            self._environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
        )

    @property
    def over(self) -> bool:
        return self.code in (FATAL, UNNEEDED)

    def running(self) -> bool:
        if not self._pid:
            return False
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return True
        self._pid, self.code = 0, os.waitstatus_to_exitcode(status)
        steady = time.monotonic() - self._started > STEADY_S
        self._failures = 0 if steady else self._failures + 1
        if self.code not in EXPECTED:
            say(f"{self.name} ended with {self.code}")
        return False

    def end(self, wait_s: float) -> bool:
        """SIGTERM; whether it was gone within `wait_s`."""
        if not self.running():
            return True
        os.kill(self._pid, signal.SIGTERM)
        until = time.monotonic() + wait_s
        while self.running():
            if time.monotonic() > until:
                return False
            time.sleep(TICK_S)
        return True

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


def held(lock: str) -> bool:
    """Whether somebody, our launcher or an earlier one's, holds the launcher's lock."""
    try:
        with open(lock, "r+b") as file:  # noqa: PTH123 - pathlib is half of what this program would import
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def hold(lock: str) -> bool:
    """Take our own lock until we end, whatever ends us: one parent a home. Who only looks at it is borne with."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + LOOK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(TICK_S)
        else:
            return True


def main(arguments: list[str]) -> int:
    own, lock, count = arguments[0], arguments[1], int(arguments[2])
    if not hold(own):
        say(f"a daemon is running already on {os.path.dirname(os.path.dirname(own))} (it holds {own})")  # noqa: PTH120
        return USAGE
    few = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    launcher = Child("eleagent-launcher", arguments[3 : 3 + count], few)
    daemon = Child("eleagentd", arguments[3 + count :], dict(os.environ))
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: asked.append(signum))
    while not asked and not daemon.over:
        if not held(lock):
            launcher.keep()
        daemon.keep()
        time.sleep(TICK_S)
    if not daemon.end(STOP_S):
        daemon.kill()
    if not launcher.end(LAUNCHER_STOP_S):
        say("sessions are running: eleagent-launcher stays with them until they end")
    return USAGE if daemon.code == FATAL else 0


def say(text: str) -> None:
    """To the operator's terminal or the service's log. Where that has no room it is lost, but nothing else is."""
    try:
        os.write(2, f"{MARK}{text}\n".encode())  # what is printed and finds no room stays in the way of the exit
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
