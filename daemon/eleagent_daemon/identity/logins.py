"""How does a person become known by a password, stay so for hours, and stop being so at once?"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from eleagent.errors import Unauthenticated
from eleagent.wire.logins import Login, Tokens
from eleagent_daemon.identity import opaque
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.passwords import Passwords
from eleagent_daemon.identity.throttle import Accounts
from eleagent_daemon.identity.tokens import AccessTokens
from eleagent_daemon.store.logins import LoginRow, LoginRows, Presented
from eleagent_daemon.store.people import People, User

LOGINS_EACH: Final = 10
"""More logins of one user end the oldest."""

_TOUCH_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Lives:
    """Seconds: of a login without a request, of a login whatever it does."""

    idle_s: float
    whole_s: float


class Logins:
    """The face that the API meets."""

    def __init__(
        self,
        *,
        rows: LoginRows,
        people: People,
        passwords: Passwords,
        tokens: AccessTokens,
        keyring: Keyring,
        accounts: Accounts,
        lives: Lives,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._people = people
        self._passwords = passwords
        self._tokens = tokens
        self._keyring = keyring
        self._accounts = accounts
        self._lives = lives
        self._clock = clock

    async def login(self, name: str, password: str, *, address: str, note: str) -> tuple[Tokens, User]:
        """Raises Unauthenticated, the same and after the same work whatever was wrong; Throttled, Unavailable."""
        user = self._people.find(name)
        await self._prove(name, user, password)
        assert user is not None  # noqa: S101  # nobody else has a password
        at = self._clock()
        await self._make_room(user)
        token = opaque.make("ert")
        row = LoginRow(
            id=token.id, user=user.id, created=at, confirmed=at, seen=at, expires=at + self._lives.whole_s,
            refresh=self._keyring.hash(token.text), pepper=self._keyring.pepper, address=address, note=note[:100],
        )  # fmt: skip
        await self._rows.add(row)
        return self._pair(row, user, token.text), user

    async def refresh(self, text: str) -> tuple[Tokens, User]:
        """The next pair. Raises Unauthenticated; a token that was used before ends its login (`reason` "reused")."""
        given = opaque.read("ert", text)
        row = self.find(given.id) if given else None
        if given is None or row is None:
            raise _no_refresh()
        token = opaque.make("ert", given.id)
        presented, after = await self._rows.exchange(
            given.id,
            self._keyring.hash(text, row.pepper),
            refresh=self._keyring.hash(token.text),
            pepper=self._keyring.pepper,
            at=self._clock(),
        )
        user = self._people.find_by_id(row.user)
        if presented is Presented.USED:
            await self.end(given.id, why="refresh token used twice")
            raise Unauthenticated(
                "this refresh token was used before, so somebody else may have it: the login was ended, log in again",
                reason="reused",
            )
        if presented is Presented.WRONG or after is None or user is None or not user.active:
            raise _no_refresh()
        return self._pair(after, user, token.text), user

    async def confirm(self, identifier: str, user: User, password: str) -> Login:
        """The password of a login once more. Raises Unauthenticated, Throttled, Unavailable."""
        await self._prove(user.name, user, password)
        if (row := await self._rows.confirm(identifier, self._clock())) is None:
            raise Unauthenticated("this login was ended: log in again")
        return self.describe(row)

    async def check_password(self, user: User, password: str) -> None:
        """Raises Unauthenticated, Throttled, Unavailable."""
        await self._prove(user.name, user, password)

    def find(self, identifier: str) -> LoginRow | None:
        """A login that is in force."""
        row = self._rows.find(identifier)
        return row if row is not None and self._clock() < self._end_of(row) else None

    def use(self, row: LoginRow) -> None:
        """A request came with it."""
        if (at := self._clock()) - row.seen > _TOUCH_S:
            self._rows.touch(row.id, at)

    def list_logins(self) -> list[LoginRow]:
        return [row for row in self._rows.list_rows() if self.find(row.id) is not None]

    async def end(self, identifier: str, *, why: str) -> None:
        await self._rows.end([identifier], at=self._clock(), why=why)

    async def end_all(self, user: User | None, *, why: str, but: str = "") -> int:
        """Of one user, or of everybody; `but` is kept. Returns how many."""
        ids = [row.id for row in self._rows.list_rows(user.id if user else None) if row.id != but]
        await self._rows.end(ids, at=self._clock(), why=why)
        return len(ids)

    def describe(self, row: LoginRow, *, current: str = "") -> Login:
        user = self._people.find_by_id(row.user)
        return Login(
            id=row.id,
            user=user.name if user else "",
            created=rfc3339(row.created),
            confirmed=rfc3339(row.confirmed),
            seen=rfc3339(row.seen),
            expires=rfc3339(self._end_of(row)),
            address=row.address,
            note=row.note,
            current=row.id == current,
        )

    async def _prove(self, name: str, user: User | None, password: str) -> None:
        account = account_of(name)
        await self._accounts.begin(account)
        stored = user.password if user is not None and user.active else ""
        if not await self._passwords.verify(stored, password) or user is None:
            raise Unauthenticated("user or password is wrong", reason="password")
        await self._accounts.succeeded(account)
        if self._passwords.is_outdated(stored):
            await self._people.update_user(user.name, password=await self._passwords.hash(password))

    async def unlock(self, user: User) -> None:
        """Forget the wrong passwords that were given for it."""
        await self._accounts.succeeded(account_of(user.name))

    async def _make_room(self, user: User) -> None:
        rows = self._rows.list_rows(user.id)
        if surplus := [row.id for row in rows[: max(0, len(rows) - LOGINS_EACH + 1)]]:
            await self._rows.end(surplus, at=self._clock(), why=f"more than {LOGINS_EACH} logins")

    def _pair(self, row: LoginRow, user: User, refresh: str) -> Tokens:
        access, expires = self._tokens.make(user=user.id, login=row.id)
        return Tokens(
            login=row.id,
            user=user.name,
            access=access,
            access_expires=rfc3339(expires),
            refresh=refresh,
            expires=rfc3339(row.expires),
            idle_s=self._lives.idle_s,
        )

    def _end_of(self, row: LoginRow) -> float:
        return min(row.expires, row.seen + self._lives.idle_s)


def account_of(name: str) -> str:
    """How attempts name an account: not by what was typed, which may be a password."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _no_refresh() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid: log in with eleagent login", reason="invalid")
