"""Does every mistake get one clear line and the right exit code?"""

from __future__ import annotations

import grp
import json
import os
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer

import pytest

from eleagent.client.address import UnixSocket, way_to
from eleagent.errors import BY_CODE, DaemonUnreachable, EleAgentError, UnknownAgent
from eleagent.wire.events import AgentMessage
from eleagent.wire.sessions import SessionList

from .conftest import CommandLine
from .fakedaemon import FakeDaemon, FakeSession, created, ended


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "say what to do"),
        (["run", "one", "--", "true"], "say what to do"),
        (["run", "--"], "no program after --"),
        (["run", "one", "two"], "unexpected extra argument"),
        (["run", "--nonsense", "x"], "No such option"),
        (["run", "--data", "missing/reports", "x"], "there is no"),
        (["run", "--timeout", "soon", "x"], "'soon' is no time"),
        (["run", "-e", "novalue", "x"], "NAME=VALUE"),
        (["run", "--model-script", "missing.json", "x"], "No such file"),
        (["run", "--timeout", "9" * 400, "x"], "is no time"),
        (["run", "--data", "", "x"], "--data '' names no path"),
        (["run", "-o", "", "x"], "-o '' names no folder"),
        (["run", "-d", "-o", "out", "x"], "-o needs the end"),
        (["run", ""], "the prompt is empty"),
        (["run", "-o", "file", "x"], "can't be used: it is no folder"),
        (["logs", ""], "an empty KEY names nothing"),
        (["agent", "install", ""], "an empty NAME names nothing"),
        (["cp", "nocolon", "out"], "KEY:PATH"),
        (["frobnicate"], "No such command"),
        (["--host", "ftp://x", "ps"], "names no daemon"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(eleagent: CommandLine, arguments: list[str], says: str) -> None:
    (eleagent.folder / "file").write_text("in the way")
    done = eleagent(*arguments)
    assert done.code == 2
    assert says in done.err
    assert done.err.startswith("eleagent: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert not eleagent.daemon.calls


def test_prompt_of_5_mb_is_one_line_and_exit_2(eleagent: CommandLine) -> None:
    done = eleagent("run", "-", stdin=b"x" * 5_000_000)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "larger than 1000000 bytes" in done.err


def test_prompt_that_is_no_utf8_is_named(eleagent: CommandLine) -> None:
    done = eleagent("run", "-", stdin=b"fine until here \xff")
    assert done.code == 2
    assert "not UTF-8 (byte 16)" in done.err


@pytest.mark.parametrize("error", [cls for cls in BY_CODE.values() if cls is not DaemonUnreachable])
def test_each_error_class_reaches_the_person_with_its_exit_code(
    eleagent: CommandLine, error: type[EleAgentError]
) -> None:
    def refuse(_call: object) -> None:
        raise error("it is \x1b[31mthus\nand so", value=1)

    eleagent.daemon.scripts["status"] = refuse
    done = eleagent("status", "--json")
    assert done.code == error.exit_code
    assert done.err == "eleagent: it is \\x1b[31mthus\\nand so\n"
    last = json.loads(done.out.splitlines()[-1])
    assert last == {"reason": error.code, "exit_code": error.exit_code, "error": "it is \x1b[31mthus\nand so"}


def test_unknown_agent_exits_127(eleagent: CommandLine) -> None:
    def refuse(_call: object) -> None:
        raise UnknownAgent("no agent 'nobody' (see: eleagent agent ls)")

    eleagent.daemon.scripts["session_create"] = refuse
    assert eleagent("run", "-a", "nobody", "x").code == 127


def test_no_daemon_says_how_to_start_it(eleagent: CommandLine) -> None:
    eleagent.daemon.stop()
    done = eleagent("ps")
    assert done.code == 125
    assert done.err == f"eleagent: no daemon at {eleagent.daemon.path}: start it with: eleagent daemon run -d\n"


def test_dead_daemons_socket_says_so(eleagent: CommandLine, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    done = eleagent("--host", f"unix://{tmp_path}/dead.sock", "ps")
    assert done.code == 125
    assert "the daemon is not running: start it with" in done.err


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become somebody else")
@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "says"),
    [
        (0o755, 0o600, "use the account that runs the daemon (root), or root"),
        (0o755, 0o660, "it is open to the group games: ask for  sudo usermod -aG games nobody  and log in again"),
        (0o750, 0o660, "it is open to the group games: ask for  sudo usermod -aG games nobody  and log in again"),
    ],
)
def test_socket_of_another_account_says_whose_right_is_missing(folder_mode: int, socket_mode: int, says: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name, "api.sock")
        Path(name).chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            for place, mode in ((folder, folder_mode), (path, socket_mode)):
                os.chown(place, 0, grp.getgrnam("games").gr_gid)
                place.chmod(mode)
            assert said_to(65534, path) == f"no right to the daemon's socket {path}: {says}"


def test_socket_whose_path_is_too_long_is_told_with_what_to_set(eleagent: CommandLine) -> None:
    path = Path("/tmp", "x" * 110, "api.sock")
    done = eleagent("--host", f"unix://{path}", "ps")
    assert done.code == 125
    assert f"{path} has 124 bytes, and a Unix socket's may have 107: set ELEAGENT_HOME" in done.err


def said_to(uid: int, path: Path) -> str:
    """What a client of that user is told, in a child that becomes it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresuid(uid, uid, uid)
        try:
            way_to(UnixSocket(str(path))).connect()
        except EleAgentError as error:
            os.write(writing, error.message.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return text


def test_daemon_of_another_version_is_one_clear_line(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    eleagent.daemon.version = "0.9.0"
    done = eleagent("session", "show")
    assert done.code == 125
    assert "version 0.9.0" in done.err
    assert done.err.count("\n") == 1


def test_answer_that_is_no_json_is_one_line(eleagent: CommandLine, daemon: FakeDaemon) -> None:
    daemon.scripts["status"] = lambda call: {"unexpected": 1}
    done = eleagent("status")
    assert (done.code, done.err.count("\n")) == (125, 1)
    assert "can't be read" in done.err


def test_another_server_at_the_socket_is_named(eleagent: CommandLine, tmp_path: Path) -> None:
    class Other(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope")

    with UnixStreamServer(str(tmp_path / "other.sock"), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = eleagent("--host", f"unix://{tmp_path}/other.sock", "ps")
    assert (done.code, done.err.count("\n")) == (125, 1)
    assert "no EleAgent daemon" in done.err


@pytest.mark.parametrize("arguments", [["--json", "ps"], ["--help"], ["logs"]])
def test_full_disk_behind_stdout_is_one_line(eleagent: CommandLine, arguments: list[str]) -> None:
    eleagent.serve(FakeSession(created(), AgentMessage("x"), ended()))
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([])
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            eleagent.command(*arguments), stdout=full, stderr=subprocess.PIPE, env=eleagent.env, text=True
        )
    assert done.returncode == 125
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("closed", ["<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(eleagent: CommandLine, closed: str) -> None:
    eleagent.daemon.scripts["session_list"] = lambda call: SessionList([])
    shell = ["/bin/sh", "-c", f'"$@" {closed}', "sh", *eleagent.command("ps")]
    done = subprocess.run(shell, capture_output=True, env=eleagent.env, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_broken_pipe_is_silent(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), *[AgentMessage("x" * 5000)] * 200, ended()))
    process = subprocess.Popen(
        eleagent.command("logs"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=eleagent.env, cwd=eleagent.folder
    )
    assert process.stdout
    assert process.stderr
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(8) == 1
    assert b"Traceback" not in said
    assert b"Broken" not in said
