"""Does each caller find the daemon that is meant?"""

from __future__ import annotations

from pathlib import Path

import pytest

from eleagent.client.locate import SERVICE_SOCKET, default_home, default_socket, find_socket
from eleagent.errors import ConfigError


def test_defaults_of_root_are_the_services() -> None:
    assert default_home(0, {}) == Path("/var/lib/eleagent")
    assert default_socket(0, {}) == SERVICE_SOCKET == find_socket(None, uid=0, environ={})


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.local/state/eleagent"),
        ({"HOME": "/home/ada", "XDG_STATE_HOME": "/state"}, "/state/eleagent"),
        ({"HOME": "/home/ada", "ELEAGENT_HOME": "/srv/ele"}, "/srv/ele"),
    ],
)
def test_defaults_of_a_person_follow_the_environment(environ: dict[str, str], home: str) -> None:
    assert default_home(1000, environ) == Path(home)
    assert default_socket(1000, environ) == Path(home, "run/api.sock")


def test_home_holds_for_root_too() -> None:
    assert find_socket(None, uid=0, environ={"ELEAGENT_HOME": "/srv/ele"}) == Path("/srv/ele/run/api.sock")


def test_flag_goes_before_environment() -> None:
    environ = {"ELEAGENT_HOST": "unix:///env.sock", "ELEAGENT_HOME": "/srv/ele"}
    assert find_socket("unix:///flag.sock", uid=1, environ=environ) == Path("/flag.sock")
    assert find_socket(None, uid=1, environ=environ) == Path("/env.sock")


@pytest.mark.parametrize("host", ["/run/x.sock", "unix://relative", "ssh://server", "http://localhost"])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="unix:///PATH"):
        find_socket(host, uid=1, environ={})
