"""Where is a line of text typed?"""

from __future__ import annotations

from textual.widgets import Input


class Field(Input):
    """It does not blink: a blinking cursor writes 1.7 kB a second for nothing."""

    def __init__(self, value: str = "", *, placeholder: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(value, placeholder=placeholder, compact=True, select_on_focus=False, id=id)
        self.cursor_blink = False

    def goes_on(self, key: str) -> bool:
        """Whether this key is the next field's: then that one has the focus, and gets what is typed behind it.

        Asked by the application before the key is sent here, so that the order of keys is kept however quickly they
        come.
        """
        return False
