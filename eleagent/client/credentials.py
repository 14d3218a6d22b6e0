"""As whom does a client speak over the network, and how does it stay logged in?

`credentials.json` (0600) beside the contexts has one login an address. A refresh token is good once: who renews holds a
lock, so that two commands at the same time don't look like a thief.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from eleagent.client.contexts import load_json, save_json
from eleagent.client.locate import client_folder
from eleagent.client.remote import Web
from eleagent.errors import ConfigError, Unauthenticated
from eleagent.wire.logins import LoginRefresh, Tokens

KEY_VARIABLE: Final = "ELEAGENT_API_KEY"
_EARLY: Final = timedelta(seconds=30)
"""So long before its end an access token is renewed: a request on its way must not outlive it."""


class Stored(msgspec.Struct, frozen=True):
    """`key` for a daemon that was logged in to with an API key, `tokens` with a password."""

    key: str | None = None
    tokens: Tokens | None = None


class _File(msgspec.Struct, frozen=True):
    logins: dict[str, Stored] = {}


class Credentials:
    """What says who we are at one address."""

    def __init__(self, address: Web) -> None:
        self._address = address
        self._place = str(address)
        self._path = Path(client_folder(), "credentials.json")

    def token(self) -> str | None:
        """$ELEAGENT_API_KEY, else the login's, renewed where it is about to end; None where there is neither."""
        if key := os.environ.get(KEY_VARIABLE):
            return key
        stored = self.find()
        if stored is None or stored.tokens is None:
            return stored.key if stored else None
        if _past(stored.tokens.access_expires, _EARLY):
            return self._renewed(stored.tokens).access
        return stored.tokens.access

    def renew(self) -> bool:
        """After a refusal: whether there is another token now. Raises Unauthenticated, with advice, where the login is
        over or there never was one.
        """
        stored = None if os.environ.get(KEY_VARIABLE) else self.find()
        if stored is not None and stored.tokens is not None:
            self._renewed(stored.tokens)
            return True
        if stored is None and not os.environ.get(KEY_VARIABLE):
            raise Unauthenticated(f"you are not logged in at {self._place}: eleagent login {self._place}")
        return False

    def find(self) -> Stored | None:
        return self._load().logins.get(self._place)

    def keep(self, stored: Stored | None) -> None:
        """Remember, or forget, who we are there."""
        with self._locked():
            self._store(stored)

    def _renewed(self, known: Tokens) -> Tokens:
        with self._locked():
            stored = self.find()
            if stored is None or stored.tokens is None:
                raise self._over()
            if stored.tokens.refresh != known.refresh:  # another command was here first
                return stored.tokens
            try:
                tokens = self._ask(known)
            except Unauthenticated:
                self._store(None)
                raise self._over() from None
            self._store(Stored(tokens=tokens))
            return tokens

    def _ask(self, known: Tokens) -> Tokens:
        from eleagent.client.exchange import decode, request_for
        from eleagent.client.transport import send
        from eleagent.client.web import WebWay
        from eleagent.operations.logins import LOGIN_REFRESH

        request = request_for(LOGIN_REFRESH, body=LoginRefresh(refresh=known.refresh), query=None, path={})
        with send(WebWay(self._address), request) as answer:
            tokens = decode(LOGIN_REFRESH, answer.read())
        assert isinstance(tokens, Tokens)  # noqa: S101  # the operation's result
        return tokens

    def _over(self) -> Unauthenticated:
        return Unauthenticated(f"your login at {self._place} is over: eleagent login {self._place}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path.parent} can't be used: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _load(self) -> _File:
        try:
            mode = self._path.stat().st_mode
        except OSError:
            return _File()
        if mode & 0o077:
            raise ConfigError(f"{self._path} may be read by others (mode {mode & 0o777:o}): chmod 600 {self._path}")
        return load_json(str(self._path), _File) or _File()

    def _store(self, stored: Stored | None) -> None:
        logins = {place: login for place, login in self._load().logins.items() if place != self._place}
        save_json(str(self._path), _File(logins | {self._place: stored} if stored else logins))


def _past(when: str, margin: timedelta) -> bool:
    return datetime.now(UTC) + margin >= datetime.fromisoformat(when)
