"""Does every action that the daemon acknowledged have its records, when it is killed again and again under load?"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from pathlib import Path

import msgspec
import pytest

from eleagent.client.address import UnixSocket
from eleagent.client.api import Client
from eleagent.errors import EleAgentError
from eleagent.operations.projects import PROJECT_CREATE
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.verify import verify
from eleagent.wire.audit import AuditRecord
from eleagent.wire.projects import ProjectCreate

from ..daemonfixture import Daemon, running_daemon

PIECE, PIECES = map(int, os.environ.get("ELEAGENT_AUDIT_PIECE", "1/1").split("/"))
KILLS = -(-int(os.environ.get("ELEAGENT_AUDIT_KILLS", "3")) // PIECES)
CALLERS = 4
DAEMON = "eleagent_daemon.main"

pytestmark = [pytest.mark.engine, pytest.mark.timeout(60 + 20 * KILLS)]


class Callers:
    """People who make projects without pause, each by a name of its own; `acknowledged` are those that they hold an
    answer for.
    """

    def __init__(self, own: Daemon) -> None:
        self._client = Client(at=UnixSocket(str(own.socket)), start=False)
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        self.acknowledged: list[str] = []

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        while not self._over.is_set():
            name = f"p{next(self._numbers)}"
            try:
                self._client.call(PROJECT_CREATE, body=ProjectCreate(name=name))
            except EleAgentError:  # the daemon is away; whether the project was made nobody knows
                time.sleep(0.02)
            else:
                self.acknowledged.append(name)


def test_daemon_that_is_killed_under_load_has_the_records_of_all_that_it_acknowledged(
    docker_socket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(PIECE)
    with running_daemon(docker_socket) as own:
        with Callers(own) as callers:
            for _ in range(KILLS):
                own.answers()
                before = len(callers.acknowledged)
                while len(callers.acknowledged) < before + 3:
                    time.sleep(0.01)
                time.sleep(dice.random() * 0.5)
                own.kill(DAEMON)
            own.answers()
        own.stop()
        ledger = own.home / "ledger"
        (verdict,) = verify(ledger, keys=[LogFolder(ledger / "log-0001").first_key()])
        assert (verdict.problem, verdict.unsigned) == ("", 0)
        records = records_of(ledger)
    intents = {one.seq: one for one in records if one.phase == "intent"}
    outcomes = {one.intent: one for one in records if one.phase == "outcome"}
    assert intents.keys() == outcomes.keys(), "every intent has an outcome, or was closed with what was found"
    done = {
        intent.details["name"]
        for seq, intent in intents.items()
        if intent.action == "project.create" and outcomes[seq].outcome in ("done", "unknown")
    }
    assert set(callers.acknowledged) <= done
    starts = sum(one.action == "daemon.started" for one in records)
    assert starts == KILLS + 1
    torn = sum("torn_bytes" in one.details for one in records if one.action == "audit.recovered")
    closed = sum(one.outcome == "unknown" for one in outcomes.values())
    with capsys.disabled():
        print(
            f"\naudit log: {KILLS} kills of the daemon, {len(callers.acknowledged)} actions acknowledged, none without "
            f"its records; {closed} intents were closed with what was found, {torn} torn tails told of"
        )


def records_of(ledger: Path) -> list[AuditRecord]:
    segments = LogFolder(ledger / "log-0001").segments()
    lines = [line for _, path in segments for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=AuditRecord) for line in lines]
