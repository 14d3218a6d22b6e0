"""Is nothing ever allowed that was not read and meant?"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from eleagent.operations.approvals import APPROVAL_ANSWER
from eleagent.wire.approvals import ApprovalAnswer, ApprovalKind
from eleagent_tui.keep import Kept
from eleagent_tui.screens import approvals as module

from ..cli.fakedaemon import FakeDaemon
from .conftest import Open, Tui
from .scripted import STORY, Scene, question, session


@pytest.fixture
def asked(scene: Scene) -> Scene:
    scene.add(session(1), *STORY)
    scene.approvals = {f"a-{number}": question(number) for number in (1, 2)}
    return scene


def answers(daemon: FakeDaemon) -> list[tuple[str, ApprovalAnswer]]:
    return [(call.path["id"], call.decoded(ApprovalAnswer)) for call in daemon.called(APPROVAL_ANSWER)]


async def open_queue(seen: Tui) -> None:
    await seen.until("1 needs you")
    await seen.press("2")
    await seen.until("make part-1")
    await asyncio.sleep(module.GRACE_S)


async def test_capital_keys_answer_what_is_shown(asked: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await open_queue(seen)
        await seen.press("A")
        await seen.until("make part-2")
        await asyncio.sleep(module.GRACE_S)
        await seen.press("D")
        await seen.until("nobody asks for anything")
    assert answers(daemon) == [("a-1", ApprovalAnswer(allow=True)), ("a-2", ApprovalAnswer(allow=False))]


async def test_no_other_key_and_no_click_answers(asked: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await open_queue(seen)
        for key in (
            "enter",
            "space",
            "1",
            "2",
            "3",
            "2",
            "y",
            "Y",
            "a",
            "d",
            "n",
            "tab",
            "enter",
            "space",
            "escape",
            "2",
        ):
            await seen.press(key)
        for row in range(0, 24, 3):
            for column in (2, 40, 70):
                await seen.pilot.click(offset=(column, row))
        await seen.pilot.pause(0.1)
    assert answers(daemon) == []


async def test_key_pressed_as_a_question_appears_is_not_its_answer(asked: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await open_queue(seen)
        await seen.press("A", "A", "A")
        await seen.until("make part-2")
        await seen.press("A")
        await seen.until("it has only just appeared")
        assert [key for key, _ in answers(daemon)] == ["a-1"]
        # The one that is shown is withdrawn: what takes its place was not read.
        asked.approvals = {"a-3": question(3)}
        await seen.until("make part-3")
        await seen.press("A")
        await seen.pilot.pause(0.1)
        assert [key for key, _ in answers(daemon)] == ["a-1"]


async def test_who_types_answers_nothing(asked: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await open_queue(seen)
        await seen.press("c")
        await seen.type("AD")
        await seen.press("enter")
        await seen.until("comment   AD")
        await seen.press("A")
        await seen.until("not answered")
        await asyncio.sleep(module.TYPING_S)
        await seen.press("D")
        await seen.until("make part-2")
    assert answers(daemon) == [("a-1", ApprovalAnswer(allow=False, comment="AD"))]


async def test_long_request_is_read_to_its_end_before_it_is_allowed(
    scene: Scene, daemon: FakeDaemon, tui: Open
) -> None:
    scene.add(session(1), *STORY)
    hidden = "echo safe" + "\t" * 3000 + "\u2066; rm -rf /artefacts" + "\n" * 60 + "x\x1b[2K"
    parameters = msgspec.json.encode({"command": hidden}).decode()
    scene.approvals = {"a-1": question(1, parameters=parameters)}
    async with tui() as seen:
        await seen.until("1 needs you")
        await seen.press("2")
        await seen.until("asks for")
        await asyncio.sleep(module.GRACE_S)
        await seen.press("A")
        await seen.until("read it to its end first")
        assert answers(daemon) == []
        await seen.press("end")
        await seen.until("end of the request")
        assert "x\\u001b[2K" in seen.screen.replace("\n", "").replace(" ", "")
        await seen.press("A")
        await seen.until("nobody asks for anything")
    assert [key for key, _ in answers(daemon)] == ["a-1"]


async def test_always_makes_a_grant_where_one_is_possible(asked: Scene, daemon: FakeDaemon, tui: Open) -> None:
    asked.approvals["a-1"] = question(1, kind=ApprovalKind.BUDGET, subject="tokens", parameters="")
    async with tui() as seen:
        await seen.until("1 needs you")
        await seen.press("2")
        await seen.until("budget tokens")
        await asyncio.sleep(module.GRACE_S)
        await seen.press("W")
        await seen.until("can't be allowed for always")
        await seen.press("down")
        await seen.until("make part-2")
        await asyncio.sleep(module.GRACE_S)
        await seen.press("W")
        await seen.until("allowed for always")
    assert answers(daemon) == [("a-2", ApprovalAnswer(allow=True, always=True))]


async def test_answer_that_comes_too_late_is_said(asked: Scene, tui: Open, daemon: FakeDaemon) -> None:
    async with tui() as seen:
        await open_queue(seen)
        asked.approvals.pop("a-1")
        await seen.press("A")
        await seen.until(lambda: "a-1 is not open any more" in seen.screen or "make part-2" in seen.screen)


@pytest.mark.parametrize("kept", [Kept(), Kept(bell=False, notify=False, title=False)], ids=["on", "off"])
async def test_person_who_does_not_look_is_called_unless_it_is_switched_off(
    scene: Scene, tui: Open, kept: Kept
) -> None:
    scene.add(session(1), *STORY)
    async with tui(kept=kept) as seen:
        await seen.until("able-otter-1")
        written: list[str] = []
        assert seen.app._driver is not None
        seen.app._driver.write = written.append  # type: ignore[method-assign]
        scene.approvals = {"a-1": question(1, subject="Bash\x1b]0;PWNED\x07")}
        await seen.until("1 needs you")
        told = "".join(written)
        assert ("\x1b]9;EleAgent: claude asks for tool Bash\\x1b]0;PWNED\\x07" in told) is kept.notify
        assert ("\x1b]2;(1) EleAgent" in told) is kept.title
        assert ("\x07" in told) is kept.bell


async def test_person_who_looks_is_not_called(scene: Scene, tui: Open) -> None:
    scene.add(session(1), *STORY)
    async with tui() as seen:
        await seen.until("able-otter-1")
        written: list[str] = []
        assert seen.app._driver is not None
        seen.app._driver.write = written.append  # type: ignore[method-assign]
        await seen.press("down")
        scene.approvals = {"a-1": question(1)}
        await seen.until("1 needs you")
        assert "\x07" not in "".join(written)
