"""How do rows reach the terminal: in which colours, and with nothing in them that commands it?"""

from __future__ import annotations

from typing import Final, Self

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from eleagent import textsafe
from eleagent_tui.rows import Row

ROLES: Final = {
    "dim": ("", Style(dim=True)),
    "bold": ("", Style(bold=True)),
    "good": ("text-success", Style()),
    "warn": ("text-warning", Style()),
    "bad": ("text-error", Style()),
    "name": ("text-primary", Style()),
    "think": ("", Style(dim=True, italic=True)),
    "add": ("text-success", Style()),
    "remove": ("text-error", Style()),
    "code": ("text-accent", Style()),
    "head": ("", Style(bold=True, underline=True)),
    "cursor": ("", Style(reverse=True)),
    "hit": ("", Style(bold=True, reverse=True)),
}
"""Which of the theme's colours a role has, and in which style. No style sheet: it would be applied to each widget and
each role before the first paint."""


CONTRAST: Final = 4.5
"""The least that text needs against what is behind it (WCAG 2.2, 1.4.3)."""


def readable(colour: Color, background: Color) -> Color:
    """The colour where it can be read, or the nearest to it that can: the tints of a light theme are too pale. What a
    terminal makes of its own colours is not known.
    """
    if colour.ansi is not None:
        return colour
    away = Color.darken if _luminance(background) > 0.18 else Color.lighten
    for _ in range(40):
        if contrast(colour, background) >= CONTRAST:
            break
        colour = away(colour, 0.02)
    return colour


def contrast(one: Color, other: Color) -> float:
    """From 1, which is none, to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    parts = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized)
    return sum(part * weight for part, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


class Guard(LineFilter):
    """The second wall: whatever got past the model loses its control characters, and its links, at the paint. Here
    they are taken out and not shown, since the width of a row is settled.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [_guarded(segment) for segment in segments]


def _guarded(segment: Segment) -> Segment:
    text, style, _ = segment
    if style is not None and style.link:
        style = style.update_link(None)
    elif text.isascii() and text.isprintable():
        return segment
    return Segment("".join(char for char in text if textsafe.line(char) == char), style)


class Painted(Widget):
    """A widget of rows. A subclass sets `painted` by `repaint`, and only the rows that changed are drawn again."""

    DEFAULT_CSS = "Painted { height: 1fr; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002  # Textual's name
        super().__init__(id=id, classes=classes, markup=False)
        self.painted: list[Row] = []
        self._roles: dict[str, Style] = {}

    def repaint(self, rows: list[Row], *, everything: bool = False) -> None:
        """Show these rows; what is equal to what is there costs nothing."""
        before, self.painted = self.painted, rows
        width, height = self.size
        if everything:
            self.look = None
            self.refresh()
            return
        for y in range(height):
            old = before[y] if y < len(before) else ()
            new = rows[y] if y < len(rows) else ()
            if old != new:
                self.refresh(Region(0, y, width, 1))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are no commands while they are text."""
        return not getattr(self.screen, "writes", False)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._roles.clear()

    look: object = None

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """All of it is painted again only where it looks different: that the focus came or went does not show, and
        would hold up a slow link for a second.
        """
        if repaint and not (regions or layout or recompose) and self.is_attached:
            look = (self.size, self.rich_style, self.app.theme)
            if look == self.look:
                return self
            self.look = look
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def role(self, name: str) -> Style:
        """Roles may be joined: `good cursor`."""
        if name not in self._roles:
            style = self.rich_style
            for one in name.split():
                colour, more = ROLES[one]
                if colour:
                    style += Style(color=self._colour(colour).rich_color)
                style += more
            self._roles[name] = style
        return self._roles[name]

    def _colour(self, variable: str) -> Color:
        name = self.app.theme_variables[variable]
        if name == "ansi_blue" and self.app.current_theme.dark:
            name = "ansi_cyan"  # a terminal's own blue is next to invisible on black
        return readable(Color.parse(name), self.background_colors[1])

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.role("")
        if y >= len(self.painted):
            return Strip.blank(width, base)
        segments = [Segment(text, self.role(role)) for role, text in self.painted[y]]
        return Strip(segments).adjust_cell_length(width, base)
