"""The same daemon, agents and deaths on every runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..daemonfixture import Daemon, running_daemon


@pytest.fixture(scope="session", params=["docker", "bubblewrap"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def daemon(docker_socket: str, runtime: str) -> Iterator[Daemon]:
    """As everywhere else, on each runtime in turn."""
    with running_daemon(docker_socket, ELEAGENT_RUNTIME=runtime) as started:
        built = started.cli("image", "build", "command", timeout=110)
        assert built.returncode == 0, built.stderr
        yield started
