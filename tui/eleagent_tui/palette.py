"""What is there to do where one is? Everything, by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from eleagent_tui.app import STOPS, THEMES
from eleagent_tui.place import declared

if TYPE_CHECKING:
    from eleagent_tui.app import EleAgent


def commands(app: EleAgent) -> Iterator[SystemCommand]:
    """Of Textual's own only what keeps no file and paints no SVG."""
    place = app.place
    for name, stop in STOPS.items():
        yield SystemCommand(stop.title, f"go there ({stop.key})", lambda name=name: app.action_go(name))
    for widget in (place, place.focused) if place is not None else ():
        for binding in declared(type(widget).BINDINGS) if widget is not None else ():
            if binding.description:
                shown = binding.key_display or binding.key.split(",")[0]
                yield SystemCommand(
                    binding.description.capitalize(),
                    f"here ({shown})",
                    lambda widget=widget, action=binding.action: app.run_worker(
                        app.run_action(action, default_namespace=widget)
                    ),
                )
    for theme in THEMES:
        yield SystemCommand(f"Theme: {theme}", "colours", lambda theme=theme: setattr(app, "theme", theme))
    for name, what in (
        ("bell", "Bell when an agent asks"),
        ("notify", "Notification (OSC 9) when an agent asks"),
        ("title", "Window title when an agent asks"),
        ("mouse", "Mouse (from the next start on)"),
    ):
        on = getattr(app.kept, name)
        yield SystemCommand(
            f"{what}: {'off' if on else 'on'}", "kept", lambda name=name, on=on: _set(app, name, not on)
        )
    yield SystemCommand("Help", "for where you are (?)", app.action_help)
    yield SystemCommand("Quit", "leave; sessions go on (q)", app.exit)


def _set(app: EleAgent, name: str, value: bool) -> None:
    setattr(app.kept, name, value)
    if (place := app.place) is not None:
        place.say(f"{name} is {'on' if value else 'off'}")
