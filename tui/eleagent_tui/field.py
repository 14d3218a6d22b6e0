"""Where is a line of text typed?"""

from __future__ import annotations

from textual.events import Key
from textual.widgets import Input


class Field(Input):
    """It does not blink: a blinking cursor writes 1.7 kB a second for nothing. What may be left out is told in a colour
    that can be read, which Textual's own is not.
    """

    DEFAULT_CSS = "Field > .input--placeholder { color: $text-muted; &:ansi { color: ansi_default; } }"

    def __init__(
        self,
        value: str = "",
        *,
        placeholder: str = "",
        secret: bool = False,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(value, placeholder=placeholder, password=secret, compact=True, select_on_focus=False, id=id)
        self.cursor_blink = False

    def paste(self, text: str) -> None:
        """Nothing of what is pasted is lost: several lines become one."""
        self.replace(" ".join(text.splitlines()), *self.selection)

    async def take(self, event: Key) -> bool:
        """Do what the key does here, as soon as the application gets it. Textual looks for a key's binding when the key
        has come back from the widget, and text that was typed behind it has overtaken it by then.
        """
        if event.is_printable and event.character:
            self.replace(event.character, *self.selection)
            return True
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            if await self.app.run_action(binding.action, default_namespace=self):
                return True
        return False
