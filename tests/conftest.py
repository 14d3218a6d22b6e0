"""What does every test stand on: a container engine or bubblewrap, where it asks for one?"""

from __future__ import annotations

import functools
import inspect
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from eleagent_daemon.runtime.bubblewrap_facts import bubblewrap_facts
from eleagent_daemon.runtime.groups import Groups

from .daemonfixture import Daemon, running_daemon

DOCKER_SOCKET = os.environ.get("ELEAGENT_DOCKER_SOCKET", "/var/run/docker.sock")
ENGINE_TIMEOUT_S = 120

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@functools.cache
def missing_engine() -> str | None:
    """Why tests marked `engine` can't run here, or None."""
    if os.getuid() != 0:
        return "needs root and an engine"
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(10)
            engine.connect(DOCKER_SOCKET)
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            answer = engine.recv(64)
    except OSError as err:
        return f"no engine at {DOCKER_SOCKET} ({err}): run 'make engine' as root"
    return None if b" 200 OK" in answer else f"the engine at {DOCKER_SOCKET} answers {answer[:40]!r}"


@functools.cache
def missing_bubblewrap() -> str | None:
    """Why tests marked `bubblewrap` can't run here, or None."""
    facts = bubblewrap_facts(Groups.find())
    return next((f"{fact.name}: {fact.found}: {fact.fix}" for fact in facts if fact.level == "fail"), None)


NEEDS = {"engine": missing_engine, "bubblewrap": missing_bubblewrap}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(map(item.get_closest_marker, NEEDS)) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(ENGINE_TIMEOUT_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Under CI a missing engine fails: a suite that skips what matters is no suite."""
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) and (lack := missing()):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(lack)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What did not run for an ordinary user is said in one line, not found out from a list of skips."""
    lack = missing_engine()
    unrun = [report for report in terminalreporter.stats.get("skipped", []) if lack and lack in str(report.longrepr)]
    if unrun:
        terminalreporter.write_line(
            f"{len(unrun)} tests marked 'engine' (the docker runtime, the escape suite, Claude Code end to end) "
            f"did not run: {lack}",
            yellow=True,
        )


@pytest.fixture(autouse=True)
def unblocked_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A coroutine test fails where eleagentd's code blocks the event loop. The launcher may: it writes spools as they
    come and serves nobody else meanwhile. Reading /proc about a caller does not block.
    """
    watched = {"store", "api", "unit"} & set(request.path.parts)
    if not watched or not inspect.iscoroutinefunction(request.function):
        yield
        return
    with blockbuster_ctx(["eleagent", "eleagent_daemon"], excluded_modules=["eleagent_daemon.launcher"]) as watch:
        for call in watch.functions.values():
            call.can_block_in("eleagent_daemon/api/peers.py", "_strange")
        yield


@pytest.fixture
def no_file_beyond() -> Callable[[int], AbstractContextManager[None]]:
    """A context within which the kernel lets no file of this process grow past `size` bytes (EFBIG, not ENOSPC)."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited


@pytest.fixture(scope="session")
def docker_socket() -> str:
    """The engine's API socket."""
    return DOCKER_SOCKET


@pytest.fixture(scope="session")
def daemon(docker_socket: str) -> Iterator[Daemon]:
    """A running daemon with a model credential of its own making and the image for programs. Shared: leave it as it
    was.
    """
    with running_daemon(docker_socket) as started:
        built = started.cli("image", "build", "command", timeout=110)
        assert built.returncode == 0, built.stderr
        yield started


@pytest.fixture(scope="session")
def claude(daemon: Daemon) -> Daemon:
    """The daemon with the real Claude Code CLI installed and its image built."""
    for arguments in (("agent", "install", "claude"), ("image", "build", "claude")):
        done = daemon.cli(*arguments, timeout=110)
        assert done.returncode == 0, done.stderr
    return daemon
