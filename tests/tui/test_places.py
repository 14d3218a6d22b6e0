"""Do files, proof, egress and audit show what the daemon has, page by page, and lead to one another?"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from eleagent.operations.audit import AUDIT_LIST
from eleagent.wire import events as ev
from eleagent.wire.egress import EgressHost
from eleagent.wire.limits import SessionLimits
from eleagent.wire.observations import Change, FileChange, FilesChanged
from eleagent.wire.sessions import State, Usage
from eleagent_tui.reader import Reader
from eleagent_tui.table import Table

from ..cli.fakedaemon import FakeDaemon
from .conftest import LARGE, Open
from .scripted import REPORT, STORY, Scene, decision, record, session

FILES = {
    "a/notes.md": b"# Notes\n\nA **bold** word.\n",
    "b.csv": b"run,volts\n1,3.25\n2,17\n",
    "c.json": b'{"a":[1,2]}',
    "d.png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480),
    "e.bin": bytes(range(64)),
    "f.txt": "größe\n".encode() * 300_000,
}


@pytest.fixture
def files(scene: Scene) -> Scene:
    one = scene.add(session(1, State.SUCCEEDED, artefacts=len(FILES)), *STORY)
    scene.files[one.key] = dict(FILES)
    return scene


async def test_files_are_listed_and_previewed_each_in_its_kind(files: Scene, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("4")
        await seen.until("Artefacts")
        await seen.press("enter")
        for text in ("A bold word.", "1   3.25", '"a": [', "PNG image, 640 by 480 pixels", "00000000  00 01", "größe"):
            await seen.until(text)
            await seen.press("down")
        await seen.until("f.txt  2.4 MB")
        await seen.press("tab", "end")
        await seen.until("the first 262 kB of 2.4 MB")
        await seen.press("escape")
        await seen.until(lambda: seen.rows[0].startswith("EleAgent > Artefacts"))


async def test_file_is_saved_whole_and_never_over_another(
    files: Scene, tui: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("The reports are sorted")
        await seen.press("f")
        await seen.until("A bold word.")
        await seen.press("w")
        await seen.until("Save as notes.md")
        await seen.press("enter")
        await seen.until("digest checked")
        assert (tmp_path / "notes.md").read_bytes() == FILES["a/notes.md"]
        await seen.press("w")
        await seen.until("Save as notes.md")
        await seen.press("enter")
        await seen.until("notes.md exists: give another name")
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"notes.md"}


async def test_file_that_is_not_what_was_listed_is_not_kept(
    files: Scene, tui: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("4", "enter")
        await seen.until("A bold word.")
        files.files[session(1).key]["a/notes.md"] = b"another"
        await seen.press("w")
        await seen.until("Save as notes.md")
        await seen.press("enter")
        await seen.until("its digest differs")
        assert not (tmp_path / "notes.md").exists()
        assert not list(tmp_path.glob(".eleagent-*"))


async def test_proof_shows_each_control_and_what_is_missing_first(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    scene.report = REPORT
    async with tui(size=LARGE) as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("The reports are sorted")
        await seen.press("p")
        await seen.until("isolation   complete  2 of 3 controls · docker")
        assert seen.screen.index("✗ pids limit  512 → none  (cgroup)") < seen.screen.index("✓ no_new_privs")
        assert "does not enforce pids limit" in seen.screen
        await seen.press("escape")
        await seen.until("The reports are sorted")


async def test_egress_comes_live_says_why_and_leads_to_its_session(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    scene.decisions = [decision(1), decision(2, allowed=False)]
    async with tui(size=LARGE) as seen:
        await seen.until("able-otter-1")
        await seen.press("3")
        await seen.until("refused by rule none")
        assert "it is not allowed" in seen.screen
        scene.decisions.append(decision(3))
        await seen.until("h3.example:443")
        await seen.press("r")
        await seen.until(lambda: "h3.example" not in seen.screen)
        assert "h2.example:443" in seen.screen
        await seen.press("enter")
        await seen.until("able-otter-1 running")


async def test_egress_of_a_long_time_is_paged_as_one_goes_down(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    scene.decisions = [decision(number) for number in range(1, 451)]
    scene.hosts = [EgressHost(host="busy.example", allowed=9, refused=1, sessions=2, bytes_up=1, bytes_down=2, last="")]
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("3")
        await seen.until("h450.example")
        table = seen.app.screen.query_one("#decisions", Table)
        for count in (400, 450):
            await seen.press("end")
            await seen.until(lambda count=count: len(table.items) == count)
        await seen.press("end")
        await seen.until("h1.example")
        await seen.press("slash")
        await seen.type("h77.")
        await seen.press("enter")
        await seen.until(lambda: len(table.items) == 1)
        await seen.press("h")
        await seen.until("busy.example")


async def test_audit_is_paged_filtered_and_shown_whole(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    scene.add(session(1), *STORY)
    scene.records = [record(number) for number in range(1, 300)] + [
        record(300, actor="ada", action="session.stop", decision="denied", details={"path": "/x"})
    ]
    async with tui(size=LARGE) as seen:
        await seen.until("able-otter-1")
        await seen.press("5")
        await seen.until("session.stop")
        await seen.press("enter")
        await seen.until("As it was hashed")
        assert json.dumps("/x") in seen.screen
        await seen.press("escape")
        await seen.until("OUTCOME")
        await seen.press("slash")
        await seen.type("actor=weber create")
        await seen.press("enter")
        await seen.until(lambda: "ada" not in seen.screen)
        table = seen.app.screen.query_one(Table)
        await seen.press("end")
        await seen.until(lambda: len(table.items) == 299)
        await seen.press("t")
        await seen.until("no record matches")
        last = daemon.called(AUDIT_LIST)[-1].query
        assert (last["actor"], last["text"], last["newest"]) == ("weber", "create", "true")
        assert last["since"]


async def test_audit_and_network_of_one_session(scene: Scene, tui: Open) -> None:
    one = scene.add(session(1), *STORY)
    scene.decisions = [decision(1), decision(2, session="s-other")]
    scene.records = [record(1), record(2, session="s-other", actor="somebody")]
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("The reports are sorted")
        await seen.press("w")
        await seen.until("h1.example")
        assert "h2.example" not in seen.screen
        await seen.press("escape")
        await seen.until("The reports are sorted")
        await seen.press("a")
        await seen.until("session.create")
        assert "somebody" not in seen.screen
        assert one.key in seen.screen
        await seen.press("minus")
        await seen.until("The reports are sorted")


async def test_help_names_the_keys_of_where_one_is(scene: Scene, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("no sessions yet")
        await seen.press("question_mark")
        await seen.until("Everywhere")
        await seen.press("escape")
        await seen.until(lambda: not isinstance(seen.app.focused, Reader))


async def test_usage_is_told_by_user_and_by_what_else_there_is(scene: Scene, tui: Open) -> None:
    async with tui(size=(120, 30)) as seen:
        await seen.until("n starts one")
        await seen.press("7")
        await seen.until("user-2")
        assert "Usage by user > 2026-03-01 to 2026-03-09: 4.50 USD" in seen.rows[0]
        await seen.press("b")
        await seen.until("project-1")
        await seen.press("B")
        await seen.until("user-1")
        await seen.press("B")
        await seen.until("day-1")


async def test_usage_of_one_session_stands_beside_what_it_may_use(scene: Scene, tui: Open) -> None:
    used = Usage(requests=3, input_tokens=1200, output_tokens=34, cost_microusd=12_500)
    scene.add(session(1, usage=used, limits=SessionLimits(max_cost_usd=2)), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("The reports are sorted")
        await seen.press("c")
        await seen.until("may use         2 USD")
        for text in ("able-otter-1 > usage", "1,234", "0.0125 USD"):
            assert text in seen.screen


async def test_each_artefact_has_the_turn_that_wrote_it_last(scene: Scene, tui: Open) -> None:
    def wrote(*paths: str) -> FilesChanged:
        return FilesChanged([FileChange(path, Change.CHANGED) for path in paths])

    one = scene.add(
        session(1, State.SUCCEEDED, artefacts=3),
        *STORY, wrote("/artefacts/a.csv", "/artefacts/b.csv", "/workspace/c.csv"),
        ev.InputAccepted(id="i-1", by_user="weber", text="Again"), wrote("/artefacts/b.csv", "/artefacts/d.csv"),
        FilesChanged([
            FileChange("/artefacts/e.csv", Change.RENAMED, before_path="/artefacts/a.csv"),
            FileChange("/artefacts/d.csv", Change.DELETED),
        ]),
    )  # fmt: skip
    scene.files[one.key] = dict.fromkeys(("a.csv", "b.csv", "c.csv", "d.csv", "e.csv"), b"1\n")
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("4", "enter")
        await seen.until("WRITTEN")
        turns = {words[0]: words[3] for row in seen.rows if len(words := row.split()) > 4 and words[2] == "B"}
        assert turns == {"b.csv": "2", "e.csv": "2"}
        assert "c.csv" in seen.screen


@pytest.mark.parametrize(
    ("keys", "seen_when"),
    [
        (["enter"], "The reports are sorted"),
        (["4", "enter"], "notes.md"),
        (["6"], "engine: Docker 29"),
        (["7"], "user-2"),
        (["5"], "session.create"),
    ],
)
async def test_place_opened_while_the_daemon_is_away_is_filled_when_it_is_back(
    files: Scene, daemon: FakeDaemon, tui: Open, keys: list[str], seen_when: str
) -> None:
    files.records = [record(number) for number in range(1, 4)]
    async with tui() as seen:
        await seen.until("able-otter-1")
        daemon.stop()
        await seen.until("daemon away")
        for key in keys:
            await seen.press(key)
            await seen.pilot.pause(0.1)
        await seen.until("start it with: eleagent daemon run -d")
        assert seen_when not in seen.screen
        daemon.start()
        await seen.until(seen_when)
