"""Is every acknowledged record there after a SIGKILL, and after a fault at any write, sync and rename?"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import AuditUnavailable
from eleagent.transparency.logfiles import LogFolder, log_folders
from eleagent.transparency.verify import verify
from eleagent.wire.audit import AuditRecord
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.ledger.recovery import take_up

WRITER = str(Path(__file__).with_name("auditwriter.py"))
PIECE, PIECES = map(int, os.environ.get("ELEAGENT_AUDIT_PIECE", "1/1").split("/"))
"""Which part of all that is asked for, for who can't spend an hour at a stretch."""
KILLS = -(-int(os.environ.get("ELEAGENT_AUDIT_KILLS", "5")) // PIECES)
FAULTS = int(os.environ.get("ELEAGENT_AUDIT_FAULTS", "9"))
"""About so many, spread evenly over all that there are (0: all)."""
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "ftruncate", "fallocate", "mkdir")
PYTHON = [sys.executable, "-P", WRITER]


def acknowledged(told: bytes) -> dict[int, str]:
    """seq → request of every whole line."""
    lines = told.decode().split("\n")[:-1]
    return {int(seq): request for seq, _, request in (line.partition(" ") for line in lines)}


def kept(folder: Path) -> dict[int, AuditRecord]:
    found = {}
    for path in log_folders(folder / "ledger"):
        for _, segment in LogFolder(path).segments():
            for line in segment.read_bytes().split(b"\n")[:-1]:
                record = msgspec.json.decode(line, type=AuditRecord)
                found[record.seq] = record
    return found


def take_up_again(folder: Path) -> str:
    """What the next daemon does first; returns what was wrong with the log."""

    async def work() -> str:
        with ThreadPoolExecutor(max_workers=2) as pool:
            ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)
            await take_up(ledger, version="test", look=_look)
            left = await ledger.index.open_intents()
            await ledger.close()
            return ledger.damage or (f"{len(left)} intents are open" if left else "")

    return asyncio.run(work())


async def _look(_: AuditRecord) -> str:
    return "nothing"


def assert_nothing_is_lost(folder: Path, told: dict[int, str], about: str) -> None:
    for verdict in verify(folder / "ledger") if log_folders(folder / "ledger") else []:
        assert not verdict.problem, about
    assert take_up_again(folder) == "", about
    records = kept(folder)
    assert {seq: records[seq].request for seq in told} == told, about
    (verdict,) = verify(folder / "ledger", keys=LogFolder(folder / "ledger" / "log-0001").keys()[:1])
    assert (verdict.problem, verdict.unsigned) == ("", 0), about


@pytest.mark.timeout(60 + 10 * KILLS)
def test_writer_that_is_killed_under_load_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(PIECE)
    told: dict[int, str] = {}
    for kill in range(KILLS):
        writer = subprocess.Popen([*PYTHON, str(tmp_path), "100000", "4"], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(dice.random() * 0.3)
        writer.kill()
        told |= acknowledged(first + writer.communicate()[0])
        assert_nothing_is_lost(tmp_path, told, f"kill {kill + 1}")
    assert len(told) > KILLS
    torn = sum(
        record.action == "audit.recovered" and "torn_bytes" in record.details for record in kept(tmp_path).values()
    )
    with capsys.disabled():
        print(f"\naudit log: {KILLS} kills, {len(told)} acknowledged, none lost; {torn} torn tails, each told of")


def test_torn_tail_of_a_killed_writer_is_reported(tmp_path: Path) -> None:
    assert subprocess.run([*PYTHON, str(tmp_path), "1", "4"], stdout=subprocess.DEVNULL, check=True).returncode == 0
    (_, segment), *_ = LogFolder(tmp_path / "ledger" / "log-0001").segments()
    with segment.open("ab") as file:
        file.write(b'{"seq":')
    (verdict,) = verify(tmp_path / "ledger")
    assert (verdict.problem, "torn record of 7 bytes" in verdict.notes[0]) == ("", True)
    assert take_up_again(tmp_path) == ""
    assert [one.details for one in kept(tmp_path).values() if one.action == "audit.recovered"] == [
        {"torn_bytes": "7", "open_intents": "0"}
    ]


@pytest.fixture
def strace() -> str:
    """Under CI a missing one fails, as a missing engine does."""
    found = shutil.which("strace")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no strace: apt-get install strace")
    return found


def traced(strace: str, folder: Path, *arguments: str) -> tuple[dict[int, str], str]:
    """What a writer acknowledged in a folder of its own, and the trace of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    trace = folder.with_suffix(".trace")
    command = [strace, "-f", "-qq", "-o", str(trace), *arguments, *PYTHON, str(folder), "12", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    return acknowledged(done.stdout), trace.read_text(errors="replace")


@pytest.mark.timeout(900)
def test_fault_at_any_call_loses_nothing_that_was_acknowledged(
    strace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run that writes, signs, rotates the key, and ends in order."""
    folder = tmp_path / "run"
    told, trace = traced(strace, folder, "-e", f"trace={','.join(CALLS)}")
    assert len(told) == 24
    faults = [
        (call, number, what)
        for call, count in sorted(_most_calls(trace).items())
        for number in range(1, count + 1)
        for what in ("error=EIO", "error=ENOSPC", "signal=KILL")
    ]
    chosen = (faults if not FAULTS else faults[:: max(1, len(faults) // FAULTS)])[PIECE - 1 :: PIECES]
    injected: Counter[str] = Counter()
    missed = []
    for call, number, what in chosen:
        told, trace = traced(strace, folder, "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}")
        assert_nothing_is_lost(folder, told, f"{call} {number}, {what}")
        if "(INJECTED)" in trace or "killed by SIGKILL" in trace:
            injected[f"{call} {what.partition('=')[2]}"] += 1
        else:
            missed.append((call, number, what))
    with capsys.disabled():
        counted = ", ".join(f"{what} {count}" for what, count in sorted(injected.items()))
        print(f"\naudit log: {injected.total()} of {len(chosen)} faults injected ({counted}); not: {missed}")
    assert injected.total() >= len(chosen) * 9 // 10, f"{missed} of {len(chosen)} were not injected"


def _most_calls(trace: str) -> Counter[str]:
    """How often the busiest thread made each call: strace counts them by thread. The first is the interpreter's own,
    where no file of the log is touched.
    """
    calls = re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE)
    most: Counter[str] = Counter()
    for (thread, call), count in Counter(calls).items():
        if thread != calls[0][0]:
            most[call] = max(most[call], count)
    return most


async def test_log_that_could_not_be_written_tells_of_it_afterwards(tmp_path: Path, no_file_beyond) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        ledger = await Ledger.open(tmp_path / "ledger", secrets=tmp_path / "secrets", installation="x", pool=pool)
        with no_file_beyond(0):
            with pytest.raises(AuditUnavailable, match="File too large"):
                await ledger.write(phase="intent", action="session.create", actor="ada")
            with pytest.raises(AuditUnavailable):
                await ledger.write(phase="intent", action="session.stop", actor="ada", take_away=True)
            ledger.write_later(ledger.entry(phase="event", action="session.stop", actor="ada"))
            await ledger._resume()
            assert "File too large" in ledger.trouble
        await ledger._resume()
        assert ledger.trouble == ""
        await ledger.write(phase="event", action="session.stop", actor="ada")
        await ledger.close()
    _, late, resumed, _ = kept_now = list((await asyncio.to_thread(kept, tmp_path)).values())
    assert (late.action, late.details) == ("session.stop", {"late": "true"})
    assert resumed.action == "audit.resumed"
    assert (resumed.details["refused"], resumed.details["late"]) == ("2", "1")
    assert len(kept_now) == 4
