"""Do checkpoints leave a real daemon, and does who got them find that the log was put back to an older one?"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ..daemonfixture import Daemon, private_daemon

pytestmark = pytest.mark.timeout(60)

WITH_JOURNAL = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
mount --bind "$1" /run/systemd/journal
shift
exec "$@"
"""
"""A /run of its own, in whose journal's place stands the folder $1."""


def until(wanted: Callable[[], Any], timeout: float = 20.0) -> Any:
    end = time.monotonic() + timeout
    while not (found := wanted()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@dataclass
class Hook:
    """A web server that keeps what is posted, but answers the first post with 503."""

    url: str
    got: list[str] = field(default_factory=list)
    types: set[str | None] = field(default_factory=set)
    refused: int = 0


@contextmanager
def webhook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            note = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if not hook.refused:
                hook.refused += 1
                self.send_response(503)
            else:
                hook.got.append(note)
                hook.types.add(self.headers["Content-Type"])
                self.send_response(204 if self.path == "/checkpoints" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_port}/checkpoints")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


def copy_of(daemon: Daemon, folder: Path) -> Path:
    """The log as it is on the disk now, and nothing of what the daemon knows."""
    return Path(shutil.copytree(daemon.home / "ledger", folder))


def verify(daemon: Daemon, log: Path, held: Path) -> subprocess.CompletedProcess[str]:
    return daemon.cli("audit", "verify", str(log), "--checkpoint", str(held))


def assert_finds_rollback(daemon: Daemon, folder: Path, held: Path, older: Path) -> None:
    newer = verify(daemon, copy_of(daemon, folder / "newer"), held)
    assert newer.returncode == 0, newer
    by_itself = daemon.cli("audit", "verify", str(older))
    assert by_itself.returncode == 0, "an older copy is whole and well signed"
    put_back = verify(daemon, older, held)
    assert (put_back.returncode, "records were signed and" in put_back.stdout) == (125, True), put_back


def test_webhook_gets_each_checkpoint_and_who_has_it_finds_an_older_log(tmp_path: Path) -> None:
    with webhook() as hook, private_daemon(ELEAGENT_AUDIT_CHECKPOINTS_TO=hook.url) as own:
        assert own.cli("doctor").returncode in (0, 125)
        until(lambda: hook.refused)
        older = copy_of(own, tmp_path / "older")
        assert own.cli("audit", "rotate-key").returncode == 0
        (note,) = until(lambda: list(hook.got))
        assert hook.types == {"text/plain; charset=utf-8"}
        origin, size, root, *_ = note.splitlines()
        assert origin.startswith("eleagent/")
        assert int(size) >= 2
        assert len(root) == 44
        (tmp_path / "held").write_text("".join(hook.got))
        assert_finds_rollback(own, tmp_path, tmp_path / "held", older)
        assert own.log().count(f"checkpoints can't be sent to {hook.url}") == 1


def fields_of(packet: bytes) -> dict[str, str]:
    """A datagram to journald, read as its protocol says (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found = {}
    while packet:
        line, _, packet = packet.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", packet[:8])
            value, packet = packet[8 : 8 + size], packet[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="makes a mount namespace")
def test_journal_gets_each_checkpoint_and_its_lines_find_an_older_log(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    place.mkdir()
    with private_daemon() as own, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(place / "socket"))
        (place / "socket").chmod(0o666)
        journal.settimeout(20)
        words = [sys.executable, "-P", "-m", "eleagent_daemon.daemonctl"]
        with (own.home / "daemon.log").open("ab") as log:
            own.parent = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", WITH_JOURNAL, "sh", str(place), *words],
                env=own.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        own.answers()
        first = fields_of(journal.recv(1 << 16))
        older = copy_of(own, tmp_path / "older")
        assert own.cli("audit", "rotate-key").returncode == 0
        second = fields_of(journal.recv(1 << 16))
        assert {(one["PRIORITY"], one["SYSLOG_IDENTIFIER"]) for one in (first, second)} == {("5", "eleagentd")}
        for one in (first, second):
            assert one["MESSAGE"] == "audit checkpoint " + one["ELEAGENT_CHECKPOINT"].rstrip("\n").replace("\n", "\\n")
        assert first != second
        lines = [f"Nov 28 11:22:33 host eleagentd[7]: {one['MESSAGE']}\n" for one in (first, second)]
        (tmp_path / "held").write_text("".join(lines))
        assert_finds_rollback(own, tmp_path, tmp_path / "held", older)
        own.stop()
