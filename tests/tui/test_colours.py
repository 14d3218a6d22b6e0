"""Can every text be read, and is what is chosen seen, in each theme?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.segment import Segment
from textual.color import Color

from eleagent_tui.app import THEMES
from eleagent_tui.keep import Kept
from eleagent_tui.paint import CONTRAST, contrast, readable

from .conftest import Open, Tui
from .scripted import Scene
from .test_snapshots import FIRST, PLACES, full

__all__ = ["full"]

SHOWN = ("sessions", "session", "proof", "network", "approvals", "files", "audit", "settings", "usage", "new", "stop")


def texts(seen: Tui) -> Iterator[Segment]:
    """What is painted, as it leaves the client."""
    app = seen.app
    for strip in app.screen._compositor.render_strips():
        for one in app.get_line_filters():
            strip = strip.apply_filter(one, app.screen.background_colors[1])
        yield from (segment for segment in strip if segment.text.strip() and segment.style is not None)


def hard_to_read(seen: Tui) -> set[str]:
    """Texts with too little contrast; of a terminal's own colours: blue on black."""
    found = set()
    for segment in texts(seen):
        style = segment.style
        assert style is not None
        if style.color is None or style.color.triplet is None or style.bgcolor is None or style.bgcolor.triplet is None:
            if style.color is not None and style.color.number == 4 and seen.app.current_theme.dark:
                found.add(segment.text)
        elif contrast(Color(*style.color.triplet), Color(*style.bgcolor.triplet)) < CONTRAST:
            found.add(segment.text)
    return found


@pytest.mark.parametrize("name", SHOWN)
async def test_every_text_can_be_read_in_every_theme(full: Scene, tui: Open, name: str) -> None:
    keys, seen_when = PLACES[name]
    async with tui(kept=Kept(theme="textual-light")) as seen:
        await seen.until("able-otter-9")
        for number, key in enumerate(["down", *keys] if keys[:1] == ["enter"] else keys):
            await seen.press(key)
            if number + 1 < len(keys):
                await seen.until(FIRST.get(name, "able-otter"))
        await seen.until(seen_when)
        for theme in THEMES:
            seen.app.theme = theme
            await seen.pilot.pause(0.1)
            assert hard_to_read(seen) == set(), theme
            if name in ("sessions", "files", "audit"):
                assert any(one.style and one.style.reverse for one in texts(seen)), (
                    f"{theme}: what is chosen is not seen"
                )


@pytest.mark.parametrize("background", ["#ffffff", "#e0e0e0", "#121212", "#000000"])
@pytest.mark.parametrize("colour", ["#a86d1c", "#337e4a", "#57a5e2", "#808080", "#ffff00", "#000080"])
def test_colour_is_changed_only_as_far_as_it_must(colour: str, background: str) -> None:
    asked, behind = Color.parse(colour), Color.parse(background)
    given = readable(asked, behind)
    assert contrast(given, behind) >= CONTRAST
    assert (given == asked) == (contrast(asked, behind) >= CONTRAST)
    assert contrast(given, behind) < max(5.6, contrast(asked, behind) + 0.01)
