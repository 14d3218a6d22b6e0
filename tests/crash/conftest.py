"""On which runtimes are crashes tried, and with which daemon?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..daemonfixture import Daemon, running_daemon

RUNTIMES = [
    pytest.param("docker", marks=pytest.mark.engine),
    pytest.param("bubblewrap", marks=[pytest.mark.engine, pytest.mark.bubblewrap]),
]


@pytest.fixture(params=RUNTIMES)
def own(request: pytest.FixtureRequest, docker_socket: str) -> Iterator[Daemon]:
    """A daemon of its own, with the image for programs."""
    with running_daemon(docker_socket, ELEAGENT_RUNTIME=request.param) as started:
        built = started.cli("image", "build", "command", timeout=110)
        assert built.returncode == 0, built.stderr
        yield started
