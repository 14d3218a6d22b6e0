"""Does a person at the full-screen client hear that the audit log is not the one that was shown before?"""

from __future__ import annotations

import msgspec
import pytest

from eleagent.wire.audit import AuditRecord

from ..cli.fakedaemon import NOW, FakeDaemon
from ..cli.fakelog import FakeLog
from .conftest import LARGE, Open
from .scripted import Scene


@pytest.fixture
def log(daemon: FakeDaemon, scene: Scene) -> FakeLog:
    made = FakeLog()
    daemon.audit = made.header
    daemon.scripts["audit_head"] = made.answer
    return made


async def test_log_that_grows_is_followed_without_a_word(log: FakeLog, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("EleAgent > Sessions")
        await seen.until(lambda: log.proofs == 1)
        log.entries.append(b"one more")
        await seen.until(lambda: log.proofs == 2)
        await seen.pilot.pause(0.1)
        assert "AUDIT LOG" not in seen.screen


async def test_split_view_is_told_on_every_place_until_it_is_gone(log: FakeLog, tui: Open) -> None:
    mine = list(log.entries)
    async with tui() as seen:
        await seen.until(lambda: log.proofs == 1)
        log.entries = [*mine[:299], b"another", b"one more"]
        await seen.until("AUDIT LOG: the audit log of")
        await seen.press("5")
        await seen.until("EleAgent > Audit")
        await seen.until("AUDIT LOG: the audit log of")
        assert "it does not begin with the 300 records" in " ".join(row.strip() for row in seen.rows)
        log.entries = [*mine, b"one more", b"and another"]
        await seen.until(lambda: "AUDIT LOG" not in seen.screen)


async def test_change_while_nobody_was_connected_is_told_at_the_next_connection(log: FakeLog, tui: Open) -> None:
    async with tui() as seen:
        await seen.until(lambda: log.proofs == 1)
    del log.entries[200:]
    async with tui(size=LARGE) as seen:
        await seen.until("AUDIT LOG: the audit log was changed: the daemon can't prove that it only grew")


async def test_other_log_is_told_with_what_to_say_if_it_is_right(log: FakeLog, tui: Open) -> None:
    async with tui(size=LARGE) as seen:
        await seen.until(lambda: log.proofs == 1)
        log.origin, log.entries = "eleagent/x/2", [b"first"]
        log.begins = msgspec.structs.replace(
            AuditRecord(seq=301, ts=NOW, phase="event", action="audit.restarted", actor="root"), details={}
        )
        await seen.until("say 'eleagent audit trust'")
