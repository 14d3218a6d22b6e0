"""Do checkpoints reach every place that the operator named, and does one that is away hold up no other?"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from aiohttp import web

from eleagent_daemon.checkpoints import Departures

NOTE = "eleagent/x/1\n7\nroot\n\n— eleagent/x/1 c2lnbmF0dXJl\n"
LINE = "audit checkpoint eleagent/x/1\\n7\\nroot\\n\\n— eleagent/x/1 c2lnbmF0dXJl"


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(1)
    return sock


async def test_journal_gets_a_line_and_the_note(tmp_path: Path) -> None:
    with listening(tmp_path / "journal") as journal:
        await Departures("journal", journal=tmp_path / "journal").send(NOTE)
        said = journal.recv(4096)
    assert f"MESSAGE={LINE}\n".encode() in said
    assert said.endswith(b"ELEAGENT_CHECKPOINT\n" + len(NOTE.encode()).to_bytes(8, "little") + NOTE.encode() + b"\n")


async def test_journal_that_is_not_there_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away = tmp_path / "away"
    with listening(tmp_path / "syslog") as syslog:
        await Departures("journal", journal=away, syslog=tmp_path / "syslog").send(NOTE)
        assert syslog.recv(4096) == f"<85>eleagentd: {LINE}".encode()
    with caplog.at_level(logging.INFO):
        await Departures("journal", journal=away, syslog=away).send(NOTE)
    assert caplog.messages == [LINE]


async def test_file_and_webhook_get_the_note_though_another_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    posted: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    departures = Departures(
        f"syslog http://127.0.0.1:{port}/none file:{tmp_path}/notes http://127.0.0.1:{port}/hook",
        syslog=tmp_path / "away",
    )
    await departures.send(NOTE)
    await departures.send(NOTE)
    await runner.cleanup()
    assert posted == [NOTE.encode()] * 2
    assert (tmp_path / "notes").read_text() == NOTE * 2
    assert len(caplog.messages) == 2, "each that is away is told of once"
