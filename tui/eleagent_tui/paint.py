"""How do rows reach the terminal: in which colours, and with nothing in them that commands it?"""

from __future__ import annotations

from typing import ClassVar, Final, Self

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from eleagent import textsafe
from eleagent_tui.rows import Row

ROLES: Final = ("dim", "bold", "good", "warn", "bad", "name", "think", "add", "remove", "code", "head", "cursor", "hit")


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

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"paint--{role}" for role in ROLES}
    DEFAULT_CSS = """
    Painted { height: 1fr; width: 1fr; }
    Painted > .paint--dim { text-style: dim; }
    Painted > .paint--bold { text-style: bold; }
    Painted > .paint--good { color: $text-success; }
    Painted > .paint--warn { color: $text-warning; }
    Painted > .paint--bad { color: $text-error; }
    Painted > .paint--name { color: $text-primary; }
    Painted > .paint--think { text-style: dim italic; }
    Painted > .paint--add { color: $text-success; }
    Painted > .paint--remove { color: $text-error; }
    Painted > .paint--code { color: $text-accent; }
    Painted > .paint--head { text-style: bold underline; }
    Painted > .paint--cursor { text-style: reverse; }
    Painted > .paint--hit { text-style: bold reverse; }
    """

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
        if name not in self._roles:
            base = self.rich_style
            self._roles[name] = base + self.get_component_rich_style(f"paint--{name}", partial=True) if name else base
        return self._roles[name]

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.role("")
        if y >= len(self.painted):
            return Strip.blank(width, base)
        segments = [Segment(text, self._styled(role)) for role, text in self.painted[y]]
        return Strip(segments).adjust_cell_length(width, base)

    def _styled(self, role: str) -> Style:
        """Roles may be joined: `good cursor`."""
        if " " not in role:
            return self.role(role)
        if role not in self._roles:
            joined = self.role("")
            for name in role.split(" "):
                joined += self.get_component_rich_style(f"paint--{name}", partial=True) if name else joined
            self._roles[role] = joined
        return self._roles[role]
