"""Is a session started from the form as it was filled in, and is the set-up shown with what changes it?"""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import Key, Paste

from eleagent.operations.sessions import SESSION_CREATE
from eleagent.wire.limits import SessionLimits
from eleagent.wire.sessions import SessionCreate

from ..cli.fakedaemon import FakeDaemon
from .conftest import Open
from .scripted import Scene


async def test_form_starts_what_was_filled_in_and_shows_it(
    scene: Scene, daemon: FakeDaemon, tui: Open, tmp_path: Path
) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("build it: eleagent image build command")
        # In one go, as a slow link delivers it.
        await seen.press(*"Sort x and q", "enter", *str(tmp_path), "enter", *"sorter")
        await seen.press("down", "down", "down", *"lab", "down", *"2.50", "down", *"200000", "down", *"40")
        await seen.press("down", *"100m", "down", *"2g", "down", *"4g", "down", *"5m", "down")
        await seen.type("10m")
        await seen.press("enter")
        await seen.until("sorter starting")
        await seen.until("> weber")
        await seen.press("escape", "escape")
    (call,) = daemon.called(SESSION_CREATE)
    assert call.decoded(SessionCreate) == SessionCreate(
        prompt="Sort x and q",
        data=[str(tmp_path)],
        name="sorter",
        timeout_s=600,
        stay=True,
        project="lab",
        limits=SessionLimits(
            max_cost_usd=2.5,
            max_tokens=200_000,
            max_turns=40,
            max_egress_bytes=100 << 20,
            memory_bytes=2 << 30,
            disk_bytes=4 << 30,
            idle_timeout_s=300,
        ),
    )


async def test_text_keeps_its_order_with_keys_that_are_commands(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("claude: ready")
        await seen.press(*"make it", "home", *"please ", "up", "ctrl+u", *"command", "ctrl+s")
        await seen.until("new-otter")
    (call,) = daemon.called(SESSION_CREATE)
    assert call.decoded(SessionCreate).argv == ["sh", "-c", "please make it"]


async def test_pasted_prompt_keeps_its_lines_and_its_place_before_enter(
    scene: Scene, daemon: FakeDaemon, tui: Open
) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("claude: ready")
        seen.app.post_message(Paste("one\ntwo\n"))
        seen.app.post_message(Key("down", None))
        seen.app.post_message(Key("down", None))
        seen.app.post_message(Paste("a\nname"))
        await seen.press("ctrl+s")
        await seen.until(lambda: daemon.called(SESSION_CREATE))
    (call,) = daemon.called(SESSION_CREATE)
    body = call.decoded(SessionCreate)
    assert (body.prompt, body.name) == ("one\ntwo\n", "a name")


async def test_form_says_what_is_wrong_and_starts_nothing(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("claude: ready")
        await seen.press("ctrl+s")
        await seen.until("the prompt is empty")
        await seen.type("x")
        await seen.press("enter")
        await seen.type("/nowhere/at/all")
        await seen.press("ctrl+s")
        await seen.until("there is no /nowhere/at/all")
        await seen.press("escape")
        await seen.until("n starts one")
    assert daemon.called(SESSION_CREATE) == []


async def test_prompt_of_several_lines_is_written_in_the_editor(
    scene: Scene, daemon: FakeDaemon, tui: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eleagent_tui.screens import new as module

    monkeypatch.setattr(module.terminal, "edit", lambda app, text: text + "\nsecond line\n")
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("claude: ready")
        await seen.type("first")
        await seen.press("ctrl+g")
        await seen.until("the prompt has 2 lines")
        await seen.press("ctrl+s")
        await seen.until("new-otter")
    (call,) = daemon.called(SESSION_CREATE)
    assert call.decoded(SessionCreate).prompt == "first\nsecond line\n"


async def test_limit_that_is_none_is_told_with_what_to_write(scene: Scene, daemon: FakeDaemon, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("n")
        await seen.until("claude: ready")
        await seen.press("x", *["down"] * 7, *"many", "ctrl+s")
        await seen.until("Tokens 'many' is no number: write 200000")
        await seen.press("ctrl+u", "down", "down", *"much", "ctrl+s")
        await seen.until("Egress 'much' is no size: write 512m or 2g")
    assert daemon.called(SESSION_CREATE) == []


async def test_settings_name_what_changes_them(scene: Scene, tui: Open) -> None:
    async with tui(size=(160, 80)) as seen:
        await seen.until("n starts one")
        await seen.press("6")
        await seen.until("quota: none → mount with prjquota")
        for text in (
            "✓ claude 2.1", "! command", "eleagent agent install", "▸ owner:", "engine: Docker 29",
            "model-only (built in, in force where none is named)", "shut: nothing passes the tunnel door",
            "careful (of the configuration)", "to .example.org:443, git.example.net:22", "→ policies.careful.approvals",
            "20 USD a session · 50 USD a user and day", "strict: a limit that the host can't enforce refuses the start",
            "deleted 90 days after its end → session.keep_days", "eleagent policy show",
            "ada (admin) · Ada L. · account ada",
            "! old (member) · disabled", "eleagent user add", "never used",
        ):  # fmt: skip
            assert text in seen.screen, text


async def test_palette_finds_what_there_is_to_do(scene: Scene, tui: Open) -> None:
    async with tui() as seen:
        await seen.until("n starts one")
        await seen.press("colon")
        await seen.pilot.pause(0.3)
        await seen.type("theme: textual-light")
        await seen.until("Theme: textual-light")
        await seen.pilot.pause(0.3)
        await seen.press("enter")
        await seen.until(lambda: seen.app.theme == "textual-light")
    assert seen.app.kept.theme == "textual-light"
