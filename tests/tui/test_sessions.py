"""Does the home screen show what the agents do, and do what one asks it to?"""

from __future__ import annotations

import msgspec

from eleagent.operations.sessions import SESSION_STOP
from eleagent.wire.sessions import State

from ..cli.fakedaemon import FakeDaemon
from .conftest import Open
from .scripted import STORY, Scene, session


async def test_sessions_stand_in_groups_and_follow_the_daemon(scene: Scene, tui: Open) -> None:
    one = scene.add(session(1), *STORY)
    scene.add(session(2, State.FAILED), *STORY)
    scene.add(session(3, State.WAITING), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-2")
        heads = [row for row in seen.rows if row in ("Needs you", "Working", "Idle", "Done", "Failed")]
        assert heads == ["Needs you", "Working", "Failed"]
        scene.sessions[one.key] = msgspec.structs.replace(one, state=State.SUCCEEDED)
        await seen.until("Done")
        assert "Sessions (3)" in seen.rows[0]


async def test_without_a_daemon_it_says_how_to_start_one_and_goes_on_when_there_is(
    daemon: FakeDaemon, scene: Scene, tui: Open
) -> None:
    daemon.stop()
    async with tui() as seen:
        await seen.until(lambda: any(row.strip() == "eleagent daemon run -d" for row in seen.rows))
        assert "no daemon" in seen.rows[0]
        scene.add(session(1), *STORY)
        daemon.start()
        await seen.until("able-otter-1")
        daemon.stop()
        await seen.until("daemon away")
        assert "able-otter-1" in seen.screen
        daemon.start()
        await seen.until(lambda: "daemon away" not in seen.screen)


async def test_filter_narrows_as_one_types_and_escape_takes_it_back(scene: Scene, tui: Open) -> None:
    for number in range(1, 13):
        scene.add(session(number), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-12")
        await seen.press("slash")
        await seen.type("otter-1")
        await seen.until(lambda: "able-otter-2 " not in seen.screen)
        assert seen.screen.count("able-otter-1") == 4
        await seen.press("escape")
        await seen.until("able-otter-2 ")
        await seen.press("slash")
        await seen.type("exit, nothing like it")
        await seen.press("enter")
        await seen.until("no session matches")
        assert "/exit, nothing like it" in seen.rows[0]


async def test_sort_goes_through_the_columns_within_groups(scene: Scene, tui: Open) -> None:
    for number, owner in ((1, "cid"), (2, "ada"), (3, "bob")):
        scene.add(session(number, owner=owner), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-3")
        order = lambda: [row.split()[3] for row in seen.rows if "able-otter" in row]  # noqa: E731
        assert order() == ["cid", "ada", "bob"]
        await seen.press("s", "s", "s", "s", "s")
        assert order() == ["ada", "bob", "cid"]
        await seen.press("S")
        assert order() == ["cid", "bob", "ada"]
        await seen.until("sorted by owner, the other way round")


async def test_marked_sessions_are_stopped_together_after_a_yes(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    for number in (1, 2, 3):
        scene.add(session(number), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-3")
        await seen.press("space", "space", "x")
        await seen.until("Stop 2 sessions?")
        await seen.press("enter")
        assert daemon.called(SESSION_STOP) == []
        await seen.press("x", "y", "enter")
        await seen.until("stopping 2 sessions")
        assert {call.path["key"] for call in daemon.called(SESSION_STOP)} == {session(1).key, session(2).key}
        await seen.until("stopped")


async def test_place_is_kept_for_the_next_time(scene: Scene, tui: Open) -> None:
    one = scene.add(session(1), *STORY)
    from eleagent_tui.keep import load

    async with tui() as seen:
        await seen.until("able-otter-1")
        await seen.press("enter")
        await seen.until("The reports are sorted")
        path = seen.app._kept_file
    assert path is not None
    kept = load(path)
    assert (kept.place, kept.session) == ("session", one.key)
    async with tui(kept=kept) as seen:
        await seen.until("The reports are sorted")
        await seen.press("escape")
        await seen.until("Sessions (1)")
