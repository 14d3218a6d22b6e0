"""Does each place look as it did? As text, so that a change is read in a diff; UPDATE_SNAPSHOTS=1 takes new ones."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.wire.egress import EgressHost
from eleagent.wire.sessions import State

from .conftest import LARGE, SMALL, Open
from .scripted import REPORT, STORY, Scene, decision, question, record, session

FOLDER = Path(__file__).parent / "snapshots"

PLACES: dict[str, tuple[list[str], str]] = {
    "sessions": ([], "able-otter-9"),
    "session": (["enter"], "The reports are sorted"),
    "session-top": (["enter", "home"], "> weber"),
    "proof": (["enter", "p"], "isolation   complete"),
    "network": (["enter", "w"], "by rule"),
    "files": (["4", "enter"], "17.5"),
    "approvals": (["2"], "end of the request"),
    "egress": (["3"], "by rule"),
    "hosts": (["3", "h"], "busy.example"),
    "artefacts": (["4"], "FILES"),
    "audit": (["5"], "session.create"),
    "record": (["5", "enter"], "As it was hashed"),
    "new": (["n"], "command: build it"),
    "settings": (["6", "pagedown"], "server-side tools"),
    "usage": (["7"], "user-2"),
    "help": (["question_mark"], "Everywhere"),
    "stop": (["x"], "Type y and Enter"),
}


FIRST = {"files": "TITLE", "record": "OUTCOME", "settings": "eleagent policy show"}
"""What is waited for before the next key."""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("eleagent_tui.place.LAG_S", 60.0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def full(scene: Scene) -> Scene:
    scene.report = REPORT
    scene.add(session(1), *STORY)
    scene.add(session(2, State.WAITING, owner="ada"), *STORY)
    scene.add(session(3, State.QUEUED, agent="command"), STORY[0])
    scene.add(session(4, State.FAILED), *STORY)
    done = scene.add(session(9, State.SUCCEEDED, artefacts=2), *STORY)
    scene.files[done.key] = {"a.csv": b"run,volts\n1,3.25\n2,17.5\n", "reports/out.md": b"# Hi\n\nthere\n"}
    scene.approvals = {f"a-{number}": question(number) for number in (1, 2)}
    scene.decisions = [decision(number, allowed=number % 3 > 0) for number in range(1, 40)]
    scene.hosts = [
        EgressHost(host="busy.example:443", allowed=9, refused=1, sessions=2, bytes_up=1200, bytes_down=5_300, last="")
    ]
    scene.records = [record(number) for number in range(1, 40)]
    return scene


@pytest.mark.parametrize("name", PLACES)
async def test_place_looks_as_it_did(full: Scene, tui: Open, name: str) -> None:
    """At 80x24, and at 160x48 when the terminal has grown."""
    keys, seen_when = PLACES[name]
    async with tui(size=SMALL) as seen:
        await seen.until("able-otter-9")
        if keys[:1] == ["enter"]:  # the first that works
            await seen.press("down")
        for key in keys:
            await seen.press(key)
            if key == "enter" and name in ("session", "session-top", "proof", "network"):
                await seen.until("The reports are sorted")
            elif name in FIRST and key != keys[-1]:
                await seen.until(FIRST[name])
        await seen.until(seen_when)
        await seen.until(lambda: "asking" not in seen.screen)
        for size in (SMALL, LARGE):
            await seen.pilot.resize_terminal(*size)
            await seen.pilot.pause(0.15)
            screen = re.sub(r"(?m)^(created +)\S+$", r"\1just now", seen.screen) + "\n"
            path = FOLDER / f"{name}-{size[0]}x{size[1]}.txt"
            if os.environ.get("UPDATE_SNAPSHOTS"):
                path.write_text(screen, encoding="utf-8")
            assert screen == path.read_text(encoding="utf-8")
