"""Does each caller find the daemon that is meant?"""

from __future__ import annotations

from pathlib import Path

import pytest

from eleagent.client import locate
from eleagent.client.address import UnixSocket
from eleagent.client.locate import SERVICE_SOCKET, default_home, default_socket, find_daemon
from eleagent.errors import ConfigError

ADA = {"HOME": "/home/ada"}
HERS = UnixSocket("/home/ada/.local/state/eleagent/run/api.sock", own=True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine's settings and socket would be: `etc` and `run/api.sock`."""
    monkeypatch.setattr(locate, "SERVICE_SETTINGS", f"{tmp_path}/etc")
    monkeypatch.setattr(locate, "SERVICE_SOCKET", f"{tmp_path}/run/api.sock")
    (tmp_path / "run").mkdir()
    return tmp_path


def test_defaults_of_root_are_the_services() -> None:
    assert default_home(0, {}) == "/var/lib/eleagent"
    assert default_socket(0, {}) == SERVICE_SOCKET


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        (ADA, "/home/ada/.local/state/eleagent"),
        (ADA | {"XDG_STATE_HOME": "/state"}, "/state/eleagent"),
        (ADA | {"ELEAGENT_HOME": "/srv/ele"}, "/srv/ele"),
    ],
)
def test_defaults_of_a_person_follow_the_environment(environ: dict[str, str], home: str) -> None:
    assert default_home(1000, environ) == home
    assert default_socket(1000, environ) == f"{home}/run/api.sock"


def test_person_on_a_machine_without_a_daemon_has_one_of_her_own(machine: Path) -> None:
    assert find_daemon(None, uid=1000, environ=ADA) == HERS


@pytest.mark.parametrize("sign", ["etc", "run/api.sock"])
def test_machines_daemon_goes_before_ones_own_and_is_never_started_by_a_client(machine: Path, sign: str) -> None:
    (machine / sign).mkdir()
    assert find_daemon(None, uid=1000, environ=ADA) == UnixSocket(f"{machine}/run/api.sock")


def test_root_without_settings_starts_what_a_dead_socket_is_left_of(machine: Path) -> None:
    (machine / "run" / "api.sock").touch()
    assert find_daemon(None, uid=0, environ={}) == UnixSocket(f"{machine}/run/api.sock", own=True)
    (machine / "etc").mkdir()
    assert find_daemon(None, uid=0, environ={}) == UnixSocket(f"{machine}/run/api.sock")


def test_home_names_ones_own_daemon_beside_the_machines(machine: Path) -> None:
    (machine / "etc").mkdir()
    for uid in (0, 1000):
        found = find_daemon(None, uid=uid, environ={"ELEAGENT_HOME": "/srv/ele"})
        assert found == UnixSocket("/srv/ele/run/api.sock", own=True)


def test_flag_goes_before_environment() -> None:
    environ = {"ELEAGENT_HOST": "unix:///env.sock", "ELEAGENT_HOME": "/srv/ele"}
    assert find_daemon("unix:///flag.sock", uid=1, environ=environ) == UnixSocket("/flag.sock")
    assert find_daemon(None, uid=1, environ=environ) == UnixSocket("/env.sock")


@pytest.mark.parametrize("host", ["/run/x.sock", "unix://relative", "ftp://server"])
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="names no daemon"):
        find_daemon(host, uid=1, environ={})
