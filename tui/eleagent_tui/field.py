"""Where is a line of text typed?"""

from __future__ import annotations

from textual.events import Key
from textual.widgets import Input


class Field(Input):
    """It does not blink: a blinking cursor writes 1.7 kB a second for nothing."""

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(value, placeholder=placeholder, compact=True, select_on_focus=False, id=id)
        self.cursor_blink = False

    def on_key(self, event: Key) -> None:
        """Keys that were on their way here when another field got them are that one's."""
        if self.screen.focused is not self and self.screen.focused is not None:
            event.prevent_default()
            event.stop()
            self.app.post_message(Key(event.key, event.character))
