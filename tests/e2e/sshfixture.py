"""How do tests get a server to reach by ssh? A real sshd on loopback, with keys of its own, and the real ssh."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class Server:
    """`ssh://there` leads to it for a client with `env`; `far` is what the far end's commands find first on PATH."""

    folder: Path
    port: int
    env: dict[str, str]

    @property
    def far(self) -> Path:
        return self.folder / "far"

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def ssh_server(**far_environment: str) -> Iterator[Server]:
    """Commands run there with `far_environment`. The folder is short: Unix sockets lie in it."""
    if SSHD is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("sshd is missing: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd as root insists on it
    folder = Path(tempfile.mkdtemp(prefix="ele-ssh-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for key in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
    kind, public, *_ = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {kind} {public}\n")
    for side in ("far", "near"):
        (folder / side).mkdir()
    ours = os.environ.get("PYTHONPATH", "")
    _program(folder / "far" / "eleagent", f'PYTHONPATH={ours} exec {sys.executable} -P -m eleagent.cli.main "$@"')
    _program(folder / "near" / "ssh", f'exec /usr/bin/ssh -F {folder}/ssh_config "$@"')
    variables = {"PATH": f"{folder}/far:/usr/bin:/bin"} | far_environment
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nSetEnv {' '.join(f'{name}={text}' for name, text in variables.items())}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host there\n HostName 127.0.0.1\n Port {port}\nHost *\n IdentityFile {folder}/client\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking yes\n User {getpass.getuser()}\n"
    )
    with (folder / "log").open("wb") as log:
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL)
    base = {name: value for name, value in os.environ.items() if not name.startswith(("ELEAGENT_", "SSH_"))}
    near = {"PATH": f"{folder}/near:{base['PATH']}"}
    near |= dict.fromkeys(("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(folder))
    server = Server(folder, port, base | near)
    try:
        _await(port, sshd, server)
        yield server
    finally:
        for control in (folder / "eleagent").glob("*"):  # what ssh keeps open for the next command
            subprocess.run(["/usr/bin/ssh", "-S", control, "-O", "exit", "there"], check=False, capture_output=True)
        sshd.terminate()
        sshd.wait(10)
        shutil.rmtree(folder)


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _await(port: int, sshd: subprocess.Popen[bytes], server: Server) -> None:
    until = time.monotonic() + 10
    with_port = ("127.0.0.1", port)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(with_port) == 0:
                return
        assert sshd.poll() is None, server.log()
        assert time.monotonic() < until, server.log()
        time.sleep(0.02)
