"""Is a timeline shown whole, followed as it grows, and read wherever one goes, however long it is?"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from eleagent.errors import Conflict
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_HANDOVER, SESSION_INPUT, SESSION_RESUME
from eleagent.wire import events as ev
from eleagent.wire.driving import SessionHandover
from eleagent.wire.observations import Change, FileChange, FilesChanged, ProgramExecuted
from eleagent.wire.sessions import SessionInput, SessionResume, State
from eleagent_tui.app import YOUNG
from eleagent_tui.transcript import Transcript

from ..cli.fakedaemon import FakeDaemon
from .conftest import Open, Tui
from .scripted import STORY, Scene, session


def out(word: object) -> ev.OutputText:
    return ev.OutputText("out", f"{word}\n")


@pytest.fixture
def long(scene: Scene) -> str:
    """A session of 3,000 events."""
    return scene.add(session(1), STORY[0], *(out(f"line {number}") for number in range(2, 3001))).key


async def enter(seen: Tui, text: str) -> Transcript:
    await seen.until("able-otter-1")
    await seen.press("enter")
    await seen.until(text)
    return seen.app.screen.query_one(Transcript)


async def test_story_is_drawn_as_cards(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    async with tui(size=(100, 60)) as seen:
        await enter(seen, "The reports are sorted")
        for text in (
            "> weber", "● Bash  ls -1 /data/reports", "└ TR-101.md  1.0 s", "more rows (enter opens)", "+ TR-2",
            "● Edit  /artefacts/a.md", "✗ grep: /data/none", "refused: example.org:443", "• first: TR-101",
            "report  date", "ls /artefacts",
        ):  # fmt: skip
            assert text in seen.screen, f"{text!r} not in\n{seen.screen}"


async def test_long_timeline_is_opened_at_its_end_by_a_part_of_it(long: str, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await enter(seen, "line 3000")
        await seen.press("home")
        await seen.until("line 2 ".strip())
        assert "1/3,000" in seen.rows[0]
        await seen.press("end")
        await seen.until("line 3000")
        asked = [call.query for call in daemon.called(SESSION_EVENTS)]
        assert not [query for query in asked if not query.keys() & {"tail", "limit"} and query["after"] != "3000"]


async def test_pages_are_read_backwards_to_the_beginning_and_forwards_again(scene: Scene, tui: Open) -> None:
    scene.add(session(1), STORY[0], *(out(f"line {number}") for number in range(2, 701)))
    async with tui() as seen:
        transcript = await enter(seen, "line 700")
        numbers: set[int] = set()
        while transcript.top_seq > 1:
            before = transcript.top_seq
            await seen.press("pageup")
            await seen.until(lambda before=before: transcript.top_seq < before and "…" not in seen.screen)
            numbers |= {int(row.split()[-1]) for row in seen.rows[1:] if "line" in row}
        assert numbers >= set(range(2, 680))
        await seen.press("pagedown", "pagedown", "pagedown")
        await seen.until("line 61")


async def test_growth_is_followed_until_one_goes_up(scene: Scene, long: str, tui: Open) -> None:
    async with tui() as seen:
        transcript = await enter(seen, "line 3000")
        scene.say(long, out("line 3001"))
        await seen.until("line 3001")
        await seen.press("pageup")
        assert not transcript.follows
        scene.say(long, *(out(f"late {number}") for number in range(132)))
        await seen.until("▼ 132 new")
        assert "late 0" not in seen.screen
        await seen.press("G")
        await seen.until("late 131")
        assert "▼" not in seen.screen
        scene.say(long, ev.SessionEnded(State.SUCCEEDED, "finished", 0))
        await seen.until("succeeded (finished)")


async def test_over_ssh_it_follows_by_half_a_page(scene: Scene, long: str, tui: Open) -> None:
    async with tui(remote=True) as seen:
        transcript = await enter(seen, "line 3000")
        tops = set()
        for number in range(3001, 3021, 2):
            scene.say(long, out(f"line {number}"), out(f"line {number + 1}"))
            await seen.until(f"line {number + 1}")
            tops.add(transcript.top_seq)
        assert len(tops) <= 3


async def test_daemon_that_comes_back_is_read_on_without_loss_or_repeat(
    scene: Scene, daemon: FakeDaemon, long: str, tui: Open
) -> None:
    async with tui() as seen:
        transcript = await enter(seen, "line 3000")
        daemon.stop()
        scene.say(long, out("meanwhile"))
        daemon.start()
        await seen.until("meanwhile", timeout_s=8)
        assert transcript.pages.count == 3001
        assert seen.screen.count("line 3000") == 1


async def test_draft_is_shown_until_the_message_comes(scene: Scene, tui: Open) -> None:
    key = scene.add(session(1), *STORY).key
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        scene.preview(key, "I am wri")
        scene.preview(key, "ting\nthis")
        await seen.until("✎ I am writing")
        scene.say(key, ev.AgentMessage("I have written this."))
        await seen.until("▪ I have written this.")
        assert "✎" not in seen.screen


async def test_enter_opens_the_chosen_event_and_folds_it_again(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        await seen.press("home")
        while "▌   └ TR-101.md" not in seen.screen:
            await seen.press("right_square_bracket")
        await seen.press("enter")
        await seen.until("TR-115.md")
        await seen.press("enter")
        await seen.until("more rows (enter opens)")
        await seen.press("m")
        await seen.until(":00:08 ")


async def test_search_jumps_to_hits_tools_and_errors(scene: Scene, long: str, tui: Open) -> None:
    scene.say(long, ev.AgentToolCall(id="t", name="Bash", input='{"command":"x"}'), *(out(n) for n in range(40)))
    scene.say(long, ev.AgentToolResult(id="t", text="broken", is_error=True), *(out(n) for n in range(40)))
    async with tui() as seen:
        transcript = await enter(seen, "39")
        await seen.press("slash")
        await seen.type("line 77")
        await seen.press("enter")
        await seen.until(lambda: transcript.chosen == 779)
        await seen.press("N")
        await seen.until(lambda: transcript.chosen == 778)
        await seen.press("n")
        await seen.until(lambda: transcript.chosen == 779)
        await seen.press("t")
        await seen.until(lambda: transcript.chosen == 3001)
        await seen.press("e")
        await seen.until("broken")
        await seen.press("e")
        await seen.until("no error further down")


async def test_search_opens_what_is_folded_where_the_text_is(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY, *(out(f"line {number}") for number in range(60)))
    async with tui() as seen:
        transcript = await enter(seen, "line 59")
        assert "TR-128.md" not in seen.screen
        await seen.press("slash", *"TR-128", "enter")
        await seen.until("TR-128.md")
        assert transcript.chosen == 8


async def test_what_the_host_saw_takes_a_row_until_it_is_opened(scene: Scene, tui: Open) -> None:
    ran = ["bash", "-c", "source /home/agent/x && " * 20 + "the end"]
    home = [FileChange(f"/home/agent/.claude/{'deep-' * 20}{number}", Change.CREATED) for number in range(9)]
    made = [FileChange("/artefacts/one.csv", Change.CREATED, size_bytes=8), *home]
    scene.add(
        session(1),
        STORY[0],
        ProgramExecuted(at="2026-03-09T08:00:00Z", pid=7, ppid=1, exe="/bin/bash", argv=ran),
        FilesChanged(made, passed=["/workspace/t"]),
        ev.AgentMessage("All is done"),
    )
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("All is done")
        program, *files = [row.strip() for row in seen.rows if row.startswith("  ·")][-3:]
        assert program.startswith("·   $ bash -c 'source")
        assert files == ["·   A  /artefacts/one.csv  8 B", "· 10 in HOME or gone again (enter opens)"]
        assert "the end" not in seen.screen
        await seen.press("left_square_bracket", "enter")
        await seen.until("deep-deep")
        await seen.press("enter", "left_square_bracket", "enter")
        await seen.until("the end")


async def test_garbage_is_looked_for_often_so_that_no_key_waits_for_it(tui: Open) -> None:
    before = gc.get_threshold()
    gc.set_threshold(100_000, 10, 10)  # as for a command
    try:
        async with tui() as seen:
            await seen.until(lambda: gc.get_threshold()[0] == YOUNG)
    finally:
        gc.set_threshold(*before)


async def test_foot_tells_what_keys_do_while_one_writes(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("i write ")
        await seen.press("i")
        await seen.until("⏎ says it  esc back to the transcript")
        await seen.press("escape")
        await seen.until("i write ")


async def test_composer_sends_and_keeps_its_keys_to_itself(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    scene.add(session(1), *STORY)
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        await seen.press("i")
        await seen.type("quit x 1 now")
        await seen.press("enter")
        await seen.until("> weber")
        (call,) = daemon.called(SESSION_INPUT)
        assert call.decoded(SessionInput).text == "quit x 1 now"
        await seen.press("escape", "escape")
        await seen.until("Sessions (1)")


async def test_ended_session_is_not_written_to(scene: Scene, tui: Open) -> None:
    scene.add(session(1, State.SUCCEEDED), *STORY, ev.SessionEnded(State.SUCCEEDED, "finished", 0))
    async with tui() as seen:
        await enter(seen, "succeeded (finished)")
        await seen.press("i")
        await seen.until("nobody to write to")


async def test_copy_takes_what_the_event_says(scene: Scene, tui: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    scene.add(session(1), *STORY)
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        await seen.press("T")
        await seen.until("▌ ● Bash  grep")
        await seen.press("y")
        await seen.until("copied")
        assert seen.app.clipboard == "grep -c 2026 /data/none"


async def test_transcript_is_saved_whole_as_text_and_as_events(
    scene: Scene, tui: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = scene.add(session(1, State.FAILED), *STORY, ev.SessionEnded(State.FAILED, "exited", 1)).key
    async with tui() as seen:
        await enter(seen, "failed (exited)")
        await seen.press("S", "enter")
        await seen.until(f"saved {key}.txt")
        await seen.press("S", *["backspace"] * 4)
        await seen.type(".jsonl")
        await seen.press("enter")
        await seen.until(f"saved {key}.jsonl")
        await seen.press("S", "enter")
        await seen.until("can't be written: File exists")
    assert "● Bash" in (tmp_path / f"{key}.txt").read_text()
    assert len((tmp_path / f"{key}.jsonl").read_bytes().splitlines()) == len(STORY) + 1


async def test_ended_session_goes_on_in_a_new_one(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    scene.add(session(1, State.SUCCEEDED), *STORY, ev.SessionEnded(State.SUCCEEDED, "finished", 0))
    async with tui() as seen:
        await enter(seen, "succeeded (finished)")
        await seen.until("succeeded > ")
        await seen.press("r", *"And TR-109?", "enter")
        await seen.until("went-on starting")
    (call,) = daemon.called(SESSION_RESUME)
    assert call.decoded(SessionResume) == SessionResume(prompt="And TR-109?", stay=True)


async def test_who_drives_is_shown_and_asked_before_it_is_taken_over(
    scene: Scene, daemon: FakeDaemon, tui: Open
) -> None:
    scene.add(session(1, owner="ada", driver="ada", lease=4), *STORY)
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        await seen.until("ada drives")
        await seen.press("i")
        await seen.until("ada drives it. Take it over? Type y and Enter:")
        await seen.press("n", "enter")
        await seen.until(lambda: "Take it over" not in seen.screen)
        await seen.press("i", "y", "enter")
        await seen.until(lambda: daemon.called(SESSION_HANDOVER))
        await seen.until(lambda: "ada drives" not in seen.rows[0])
        await seen.press(*"mine now", "enter")
        await seen.until("> weber")
        await seen.press("escape", "h")
        await seen.until("Who drives from now on?")
        await seen.press(*"bob", "enter")
        await seen.until("bob drives")
    assert [call.decoded(SessionHandover).to for call in daemon.called(SESSION_HANDOVER)] == ["weber", "bob"]
    (said,) = daemon.called(SESSION_INPUT)
    assert said.decoded(SessionInput) == SessionInput(text="mine now", lease=5)


async def test_what_was_not_taken_is_there_to_be_said_again(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    scene.add(session(1), *STORY)

    def refuse(_: object) -> None:
        raise Conflict("it changed hands: read on")

    daemon.scripts["session_input"] = refuse
    async with tui() as seen:
        await enter(seen, "The reports are sorted")
        await seen.until("i writes to the agent")
        await seen.press("i", *"go on", "enter")
        await seen.until("it changed hands: read on")
        await seen.until("go on")
