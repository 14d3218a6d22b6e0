"""How does a person log in, and give the password once more, without leaving the screen?"""

from __future__ import annotations

import asyncio
import getpass
import socket
from typing import TYPE_CHECKING

from eleagent.client.credentials import Credentials, Stored
from eleagent.operations.logins import LOGIN_CREATE
from eleagent.wire.logins import LoginCreate, Tokens

if TYPE_CHECKING:
    from eleagent.client.remote import Web
    from eleagent_tui.place import Place


def log_in(place: Place, address: Web) -> None:
    """Ask for user and password in the last row; the login is kept where the commands keep theirs."""

    async def named(user: str) -> None:
        async def given(password: str) -> None:
            body = LoginCreate(user=user.strip(), password=password, note=socket.gethostname())
            tokens: Tokens = await place.link.call(LOGIN_CREATE, body=body)
            await asyncio.to_thread(Credentials(address).keep, Stored(tokens=tokens))
            place.link.look()
            place.say(f"logged in as {tokens.user}")

        if user.strip():
            place.ask(f"Password of {user.strip()}:", given, secret=True)

    place.ask(f"Log in at {address} as:", named, text=getpass.getuser())
