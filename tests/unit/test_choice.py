"""Is the runtime decided once, for a reason that is written down, and never again?"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.choice import AUTO, chosen, decide

NOW = "2026-01-02"


class Ping(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nOK")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "engine.sock")
    with socketserver.UnixStreamServer(path, Ping) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield path
        server.shutdown()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runtime"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that programs are looked for in, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install_bubblewrap(path: Path) -> None:
    (path / "bwrap").write_text("#!/bin/sh\n")
    (path / "bwrap").chmod(0o755)


def test_root_takes_an_engine_that_answers(file: Path, engine: str, path: Path) -> None:
    install_bubblewrap(path)
    found = decide(AUTO, file, uid=0, engine=f"unix://{engine}", now=NOW)
    assert found.runtime == "docker"
    assert str(found) == f"docker (decided once, on {NOW}: a container engine answered at unix://{engine})"


def test_root_without_an_engine_takes_bubblewrap(file: Path, tmp_path: Path, path: Path) -> None:
    install_bubblewrap(path)
    found = decide(AUTO, file, uid=0, engine=str(tmp_path / "none"), now=NOW)
    assert str(found) == f"bubblewrap (decided once, on {NOW}: no container engine answered at {tmp_path}/none)"


def test_person_takes_bubblewrap_beside_an_engine_that_answers(file: Path, engine: str, path: Path) -> None:
    install_bubblewrap(path)
    assert decide(AUTO, file, uid=1000, engine=engine, now=NOW).runtime == "bubblewrap"


@pytest.mark.parametrize("uid", [0, 1000])
def test_nothing_to_run_sandboxes_with_stops_the_start(uid: int, file: Path, tmp_path: Path, path: Path) -> None:
    with pytest.raises(ConfigError, match=r"runtime: there is none: .* apt-get install bubblewrap"):
        decide(AUTO, file, uid=uid, engine=str(tmp_path / "none"), now=NOW)
    assert not file.exists(), "what was not decided is decided at the next start"


def test_decision_stays_when_its_reason_goes(file: Path, engine: str, path: Path, tmp_path: Path) -> None:
    install_bubblewrap(path)
    first = decide(AUTO, file, uid=0, engine=engine, now=NOW)
    assert decide(AUTO, file, uid=0, engine=str(tmp_path / "none"), now="2027-01-01") == first == chosen(AUTO, file)


def test_setting_that_names_a_runtime_decides_nothing(file: Path, engine: str) -> None:
    assert str(decide("bubblewrap", file, uid=0, engine=engine, now=NOW)) == "bubblewrap"
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "docker", '{"runtime": 1}'])
def test_decision_that_cannot_be_read_is_not_made_again_behind_ones_back(file: Path, text: str, engine: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match="set runtime, or delete it"):
        decide(AUTO, file, uid=0, engine=engine, now=NOW)


def test_daemon_started_before_a_decision_says_who_makes_it(file: Path) -> None:
    with pytest.raises(ConfigError, match="eleagent daemon run"):
        chosen(AUTO, file)
