"""How is a password asked for? On the terminal, never from an argument, which anybody on the machine can read."""

from __future__ import annotations

import getpass

from eleagent.errors import BadRequest


def ask_password(prompt: str) -> str:
    """Raises BadRequest where there is no terminal to ask on, and for nothing at all."""
    try:
        with open("/dev/tty"):  # noqa: PTH123  # getpass would read an echoed one where there is none
            password = getpass.getpass(prompt)
    except OSError:
        raise BadRequest("there is no terminal to ask for the password on: use --password-stdin") from None
    if not password:
        raise BadRequest("the password is empty")
    return password
